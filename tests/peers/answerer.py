"""A whole system for `command:`. It answers 300 ms after the user's last sound, half a second of tone and a word."""

import base64
import json
import math
import struct
import sys

RATE, SIZE = 24_000, 1_920
LATENCY, LENGTH, QUIET = round(0.3 * RATE), RATE // 2, round(0.2 * RATE)


def say(**message):
    print(json.dumps(message), flush=True)


def talk():
    """Everything between one `open` and its `close`. `now` is the sample that the frame being heard begins at."""
    now, last_loud, answer_at = 0, None, math.inf
    for line in sys.stdin:
        message = json.loads(line)
        if "close" in message:
            return
        samples = struct.unpack(f"<{SIZE}h", base64.b64decode(message["audio"]))
        for i, sample in enumerate(samples):
            if abs(sample) > 300:
                last_loud = now + i
        now += SIZE
        if answer_at == math.inf and last_loud is not None and now - last_loud > QUIET:
            answer_at = last_loud + LATENCY  # known before it is due: QUIET and a frame are less than LATENCY
        at = [now + i - answer_at for i in range(SIZE)]
        out = [round(8_000 * math.sin(2 * math.pi * 220 * t / RATE)) if 0 <= t < LENGTH else 0 for t in at]
        audio = base64.b64encode(struct.pack(f"<{SIZE}h", *out)).decode()
        say(audio=audio, text=[" hello"] if 0 in at else [])


say(duologue=1, name="answerer", version="1", sample_rate=RATE)
for _opened in sys.stdin:
    say(ready=True)
    talk()

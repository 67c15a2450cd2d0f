"""The door to text to speech: programs and servers behind it, a cache in front, errors that say what to get."""

import io
import json
import stat
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from builders import tone
from eval.speakers import SPEAKERS, open_speaker
from protocols.duplex import SAMPLE_RATE
from protocols.errors import DuologueError, InputError, SystemUnreachable


class SpeechServer(BaseHTTPRequestHandler):
    """A small server with /v1/audio/speech: a tone as long as the text, at 16 kHz as a streaming server sends it."""

    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append({**body, "path": self.path, "key": self.headers["Authorization"]})
        if body["model"] == "nobody":
            return self._reply(404, b'{"error": {"message": "the model nobody does not exist"}}')
        if body["model"] == "text":
            return self._reply(200, b"this is no sound")
        wav = io.BytesIO()
        soundfile.write(wav, np.pad(tone(0.05 * len(body["input"]), rate=16_000), 800), 16_000, format="WAV")
        data = wav.getvalue()
        return self._reply(200, data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4 + data[44:])  # length not yet known

    def _reply(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a running speech server was asked."""
    handler = type("Fresh", (SpeechServer,), {"asked": []})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{running.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "a-word")
    yield handler.asked
    running.shutdown()
    running.server_close()


@pytest.mark.needs("openai")
def test_a_speech_server_is_asked_once_and_its_sound_comes_at_our_rate(
    server: list[dict[str, Any]], tmp_path: Path
) -> None:
    speaker = open_speaker("openai:tts-x,anna,bob", tmp_path)
    assert speaker.voices == ("anna", "bob")
    first = speaker.say("Good morning.", "bob", 1.25)
    np.testing.assert_array_equal(first, speaker.say("Good morning.", "bob", 1.25))
    assert len(first) / SAMPLE_RATE == pytest.approx(0.05 * 13, abs=0.02)
    (asked,) = server
    assert asked["path"] == "/v1/audio/speech"
    assert asked["key"] == "Bearer a-word"
    assert {k: asked[k] for k in ("model", "voice", "input", "speed", "response_format")} == {
        "model": "tts-x", "voice": "bob", "input": "Good morning.", "speed": 1.25, "response_format": "wav",
    }  # fmt: skip


@pytest.mark.needs("openai")
def test_two_servers_or_models_never_share_a_cache(server: list[dict[str, Any]], tmp_path: Path) -> None:
    one, two = (open_speaker(f"openai:{model}", tmp_path) for model in ("a", "b"))
    assert one.source != two.source
    one.say("Hello.")
    two.say("Hello.")
    assert [asked["model"] for asked in server] == ["a", "b"]


@pytest.mark.parametrize(("model", "says"), [("nobody", "refused 'nobody'"), ("text", "that are no sound file")])
@pytest.mark.needs("openai")
def test_a_server_that_refuses_says_why(server: list[dict[str, Any]], tmp_path: Path, model: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_speaker(f"openai:{model}", tmp_path).say("Hello.")
    assert not list(tmp_path.rglob("*.flac"))


@pytest.mark.needs("openai")
def test_no_server_and_no_key_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InputError, match="set OPENAI_API_KEY"):
        open_speaker("openai:tts-x", tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(SystemUnreachable, match=r"no speech server answers at http://127\.0\.0\.1:9/v1"):
        open_speaker("openai:tts-x", tmp_path).say("Hello.")


def test_without_the_client_there_is_a_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r"duologue\[openai\]"):
        open_speaker("openai:tts-x", tmp_path)


# --- piper: a program of its own ---------------------------------------------------------------------------------

PROGRAM = f"""#!{sys.executable}
import argparse, sys
import numpy as np, soundfile
parser = argparse.ArgumentParser()
for name in ("--model", "--output_file", "--noise_scale", "--noise_w", "--length_scale"):
    parser.add_argument(name, required=True)
args = parser.parse_args()
text = sys.stdin.read()
if "quietly" in text:
    sys.exit("cannot whisper")
n = int(22050 * 0.02 * len(text.strip()) * float(args.length_scale))
soundfile.write(args.output_file, 0.1 * np.sin(np.arange(n) / 20), 22050)
"""


@pytest.fixture
def piper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two voices, and a program that takes piper's options."""
    program = tmp_path / "bin" / "piper"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    voices = tmp_path / "voices"
    voices.mkdir()
    for name in ("alba", "cori"):
        (voices / f"{name}.onnx").write_bytes(name.encode())
        (voices / f"{name}.onnx.json").write_text("{}")
    return voices


def test_piper_is_a_program_that_is_run(piper: Path, tmp_path: Path) -> None:
    speaker = open_speaker(f"piper:{piper}", tmp_path / "cache")
    assert speaker.voices == ("alba", "cori")
    assert len(speaker.say("Good\nmorning.", "cori", 0.5)) / SAMPLE_RATE == pytest.approx(13 * 0.02 / 0.5, abs=0.02)
    assert speaker.source != open_speaker(f"piper:{piper / 'cori.onnx'}", tmp_path / "cache").source
    with pytest.raises(InputError, match="cannot whisper"):
        speaker.say("Speak quietly.")


def test_piper_names_what_is_missing(piper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no Piper voice"):
        open_speaker(f"piper:{tmp_path}")
    (piper / "cori.onnx.json").unlink()
    with pytest.raises(InputError, match=r"lacks its cori\.onnx\.json"):
        open_speaker(f"piper:{piper}")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="pipx install piper-tts"):
        open_speaker(f"piper:{piper / 'alba.onnx'}")


# --- recordings --------------------------------------------------------------------------------------------------


def test_recorded_speech_is_found_by_text_and_voice(tmp_path: Path) -> None:
    for name, seconds in (("a", 0.5), ("b", 0.8)):
        soundfile.write(tmp_path / f"{name}.wav", np.pad(tone(seconds), 2_400), SAMPLE_RATE)
    (tmp_path / "speech.tsv").write_text("Text\tFile\tVoice\nGood morning.\ta.wav\tann\nGood morning.\tb.wav\tben\n")
    speaker = open_speaker(f"recorded:{tmp_path}")
    assert speaker.voices == ("ann", "ben")
    assert len(speaker.say("good  Morning.", "ben")) / SAMPLE_RATE == pytest.approx(0.8, abs=0.01)
    assert len(speaker.say("Good morning.")) / SAMPLE_RATE == pytest.approx(0.5, abs=0.01)
    with pytest.raises(InputError, match=r"no recording of 'Good night\.' in voice 'ann'"):
        speaker.say("Good night.", "ann")
    with pytest.raises(InputError, match="did you mean 'ann'"):
        speaker.say("Good morning.", "anna")
    with pytest.raises(InputError, match="cannot be said at speed 2"):
        speaker.say("Good morning.", "ann", 2.0)


@pytest.mark.parametrize(
    "table", [None, "Text\tFile\nHi\tnone.wav\n", "Text\tFile\n\ta.wav\n", "Words\tFile\nHi\ta.wav\n"]
)
def test_a_folder_that_holds_no_speech_says_so(tmp_path: Path, table: str | None) -> None:
    if table:
        (tmp_path / "speech.tsv").write_text(table)
    with pytest.raises(InputError, match=r"speech\.tsv"):
        open_speaker(f"recorded:{tmp_path}")


@pytest.mark.parametrize("name", ["espeek", "kokoro", "piper:", "openai:", "festival:x", ""])
def test_unknown_speakers_offer_the_known(name: str) -> None:
    with pytest.raises(DuologueError, match="unknown speaker"):
        open_speaker(name)
    assert "espeak" in SPEAKERS

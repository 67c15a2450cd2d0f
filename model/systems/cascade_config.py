"""What a cascade is told: one strict YAML file. Every unknown key and impossible value is one clear error.

Keys and addresses are apart: the chat server's key comes from DUOLOGUE_CASCADE_KEY and lies in no file.
"""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from protocols.base import Value
from protocols.config import read_yaml
from protocols.errors import InputError
from protocols.secrets import refuse_secrets

Positive = Annotated[float, Meta(gt=0)]
Seconds = Annotated[float, Meta(ge=0)]

INSTRUCTIONS = (
    "You talk with somebody on the phone. Answer in one or two short spoken sentences, without lists or markup."
)
BACKCHANNELS = (
    "mhm", "mm", "hmm", "uh-huh", "uh huh", "huh", "yeah", "yes", "yep", "right", "okay", "ok", "sure", "i see", "wow",
    "really", "oh", "ah", "got it", "mm-hmm", "of course", "good", "great", "nice", "exactly",
)  # fmt: skip


class ChatConfig(Value, frozen=True, forbid_unknown_fields=True):
    url: str  # of any OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1
    model: str
    instructions: str = INSTRUCTIONS
    temperature: Seconds = 0.7
    max_tokens: Annotated[int, Meta(ge=1)] = 200
    seeded: bool = True  # send the talk's seed along
    connect: Positive = 10.0  # seconds until the server takes a request
    silent: Positive = 20.0  # seconds it may be silent, before its first word and within
    longest: Positive = 60.0  # seconds for a whole answer


class VoiceConfig(Value, frozen=True, forbid_unknown_fields=True):
    speaker: str = "espeak"  # as for duologue stimuli --speaker
    voice: str | None = None
    speed: Annotated[float, Meta(ge=0.5, le=2)] = 1.0


class TurnsConfig(Value, frozen=True, forbid_unknown_fields=True):
    silence: Annotated[float, Meta(ge=0.1)] = 0.6  # after the user's speech: it is the agent's turn
    barge_in: Positive = 0.6  # of the user's speech over the agent's: the agent stops; a pause of 0.1 counts as speech
    backchannels: tuple[str, ...] = BACKCHANNELS  # shorter speech of only these lets the agent go on


class FillerConfig(Value, frozen=True, forbid_unknown_fields=True):
    after: Positive = 1.5  # seconds after the turn was the agent's, when there is nothing to say yet
    say: tuple[str, ...] = ()  # one after the other; none: the agent waits in silence


class ClockConfig(Value, frozen=True, forbid_unknown_fields=True):
    """What computing costs on the simulated clock. In real time it costs what it takes."""

    compute: Literal["measured", "declared"] = "measured"
    recognition: Seconds = 0.2  # declared: from the turn's end to its words
    first_sentence: Seconds = 0.5  # from there to the first sound
    sentence: Seconds = 0.1  # to the sound of each further sentence


class CascadeConfig(Value, frozen=True, forbid_unknown_fields=True):
    chat: ChatConfig
    asr: str = "auto"  # as for duologue bench --asr
    voice: VoiceConfig = VoiceConfig()
    turns: TurnsConfig = TurnsConfig()
    filler: FillerConfig = FillerConfig()
    clock: ClockConfig = ClockConfig()


def read_cascade(path: Path) -> CascadeConfig:
    """The configuration in a file. InputError says which key, and why."""
    config = read_yaml(path, CascadeConfig)
    refuse_secrets(config.chat.url)
    if not config.chat.url.startswith(("http://", "https://")):
        raise InputError(f"{path}: chat.url {config.chat.url!r} is no address such as http://127.0.0.1:8000/v1")
    if config.asr == "none":
        raise InputError(f"{path}: a cascade hears by words; asr cannot be none")
    return config

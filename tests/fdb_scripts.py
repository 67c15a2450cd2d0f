"""Runs a Full-Duplex-Bench script as it is, once per folder, with its services replaced; no test by itself.

    cd CHECKOUT/v1_v1.5/evaluation; python tests/fdb_scripts.py SPANS SCRIPT FOLDER... -- OPTION...

What is replaced: the key file and the judge (it always rates 5), the loader of sounds and the detector, which gives
the spans that the file SPANS holds for a sound (JSON, path -> [[start, end], ...] in seconds). So a script's rules
read the very spans ours read. Between two folders' output stands a line "=== FOLDER"; an exception ends a folder's
output with a line "!!! its name".
"""

import json
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import soundfile


class Sound(np.ndarray):
    """[1, n] samples that know where their speech is."""

    spans: list[list[float]] = []

    def __array_finalize__(self, made_of: Any) -> None:
        self.spans = getattr(made_of, "spans", [])

    def squeeze(self, axis: Any = None) -> "Sound":
        return self


class Judge:
    """A client whose completions all say the same; constructed and asked as the scripts do."""

    def __init__(self, **settings: object) -> None:
        message = SimpleNamespace(content="Analysis: none\nI would rate the AI's response as 5")
        reply = SimpleNamespace(choices=[SimpleNamespace(message=message)])
        self.models = SimpleNamespace(list=list)
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=lambda **request: reply))


def replace_services(spans: dict[str, list[list[float]]]) -> None:
    def load(path: object) -> tuple[Sound, int]:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
        sound = samples.T.view(Sound)
        sound.spans = spans[str(Path(str(path)).resolve())]
        return sound, rate

    def speech(
        sound: Sound, model: object = None, return_seconds: bool = False, sampling_rate: int = 16_000
    ) -> list[dict[str, float]]:
        unit = 1 if return_seconds else sampling_rate
        return [{"start": start * unit, "end": end * unit} for start, end in sound.spans]

    def resample(sound: Sound, old: int, new: int) -> Sound:
        return sound

    def module(name: str, **attributes: object) -> None:
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(attributes)

    module("dotenv", load_dotenv=lambda: None)
    module("openai", OpenAI=Judge)
    module("torch", hub=SimpleNamespace(load=lambda *names, **settings: (None, None)))
    module("torchaudio", load=load, functional=SimpleNamespace(resample=resample))
    module("silero_vad", load_silero_vad=lambda: None, get_speech_timestamps=speech)


def main(spans: str, script: str, *rest: str) -> None:
    folders, options = rest[: rest.index("--")], rest[rest.index("--") + 1 :]
    replace_services(json.loads(Path(spans).read_text()))
    sys.path.insert(0, str(Path.cwd()))
    for folder in folders:
        print(f"=== {folder}")
        sys.argv = [script, *options, "--root_dir", folder]
        try:
            runpy.run_path(script, run_name="__main__")
        except Exception as error:  # a script's own failure is what the caller asks about
            print(f"!!! {type(error).__name__}")


if __name__ == "__main__":
    main(*sys.argv[1:])

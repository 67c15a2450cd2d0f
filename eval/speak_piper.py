"""Text to speech by the Piper program: many small natural voices, on the CPU.

The one non-obvious decision: Piper (GPL-3.0 since 1.3) is a program that is run, with text in and a sound file out,
and never imported; so it is no dependency of ours and must be installed by whoever wants it. Its voices are local
files, NAME.onnx with NAME.onnx.json beside it; noise is off, so that the same text is the same sound.
"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from eval.speak import checked, trimmed
from protocols.audio import read_channel
from protocols.duplex import Audio
from protocols.errors import InputError
from protocols.store import sha256_of

QUIET = ("--noise_scale", "0", "--noise_w", "0")
_HINT = "piper is missing; `pipx install piper-tts` puts the program on the path (GPL-3.0, not part of duologue)"


class PiperSpeaker:
    """Voices from one .onnx file, or from every one in a folder."""

    def __init__(self, place: Path) -> None:
        models = sorted(place.glob("*.onnx")) if place.is_dir() else [place]
        self._models = {path.stem: path for path in models if path.is_file() and path.suffix == ".onnx"}
        if not self._models:
            raise InputError(f"no Piper voice (NAME.onnx and NAME.onnx.json) at {place}")
        if lone := [path for path in self._models.values() if not path.with_name(f"{path.name}.json").is_file()]:
            raise InputError(f"{lone[0]} lacks its {lone[0].name}.json")
        if shutil.which("piper") is None:
            raise InputError(_HINT)
        self.voices = tuple(self._models)
        digest = hashlib.sha256("".join(sha256_of(path) for path in self._models.values()).encode()).hexdigest()
        self.source = f"piper:{digest[:12]}"

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        voice = checked(text, voice or self.voices[0], speed, self.voices)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "said.wav"
            command = ["piper", "--model", str(self._models[voice]), "--output_file", str(out), *QUIET]
            done = subprocess.run(
                [*command, "--length_scale", f"{1 / speed:.4f}"],
                input=" ".join(text.split()).encode() + b"\n",
                capture_output=True,
            )
            if done.returncode or not out.is_file():
                said = done.stderr.decode(errors="replace").strip().splitlines()
                raise InputError(f"piper failed on {text[:60]!r}: {said[-1] if said else 'no reason given'}")
            return trimmed(read_channel(out), text)

"""The two sides of a recording: left the agent and right the user in one file, or ID.agent.wav beside ID.user.wav."""

from pathlib import Path

import numpy as np

from protocols.audio import read_sound, resample
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.errors import InputError

OTHER = {"agent": "user", "user": "agent"}


def is_one_side(path: Path) -> bool:
    """Whether a file's name says that it holds one side."""
    return path.stem.endswith((".agent", ".user"))


def other_side(path: Path) -> Path:
    """The other side's file of a file that holds one side."""
    name, _, side = path.stem.rpartition(".")
    return path.with_name(f"{name}.{OTHER[side]}{path.suffix}")


def both_sides(path: Path) -> Audio:
    """Both sides at 24 kHz, [2, n]; the shorter of two files is filled with silence. InputError: a side is missing, or
    a file cannot be read."""
    sound = read_sound(path)
    if is_one_side(path):
        other = other_side(path)
        if not other.exists():
            raise InputError(f"{path.name} has no other side beside it ({other.name})")
        sounds = [sound, read_sound(other)]
        sides = [resample(s.samples[0], s.sample_rate, SAMPLE_RATE) for s in sounds]
    elif sound.samples.shape[0] != 2:
        raise InputError(f"{path.name} has {sound.samples.shape[0]} channel(s): one side is missing")
    else:
        sides = [resample(channel, sound.sample_rate, SAMPLE_RATE) for channel in sound.samples]
    n = max(len(side) for side in sides)
    return np.stack([np.pad(side, (0, n - len(side))) for side in sides])

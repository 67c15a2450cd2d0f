"""Talks recorded elsewhere, evaluated without running anything: the agent's channel is played back as it was.

A folder holds, per sample id, one two-channel file (`ID.wav`, left agent, right user) or two mono files
(`ID.agent.wav`, `ID.user.wav`); FLAC and Ogg work as well. Where a recording has a user channel, playback listens
whether that is what the sample plays: the answers to other questions are no answers, so a mismatch is an error.
"""

from pathlib import Path

import numpy as np

from protocols.audio import read_channel, read_sound, resample
from protocols.duplex import FRAME_SIZE, SAMPLE_RATE, Audio, Step, SystemInfo, TalkEnded
from protocols.errors import InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".opus")
VOICED_LEVEL = 0.005  # RMS of a frame with sound
MIN_FRAMES = 12  # user frames with sound before a mismatch is judged
MIN_CORRELATION = 0.5  # of frame levels, between what is heard and what was recorded


class RecordedSystem:
    """Plays the agent's side of the talks in a folder. The sample's t = 0 lies `user_offset` into the session."""

    def __init__(self, folder: Path, user_offset: float) -> None:
        if not folder.is_dir():
            raise InputError(f"no folder of recordings at {folder}")
        if user_offset < FRAME_SIZE / SAMPLE_RATE:
            raise InputError("recorded talks need a lead-in of at least one frame (0.08 s)")
        self.info = SystemInfo(name=f"recorded:{folder.name}", version="1", slots=64, has_text=False)
        self._folder = folder
        self._offset = round(user_offset * SAMPLE_RATE)

    def open(self, seed: int, sample_id: str | None = None) -> "RecordedSession":
        agent, user = read_talk(self._folder, sample_id or "")
        lead = np.zeros(self._offset, np.float32)
        return RecordedSession(np.concatenate([lead, agent]), None if user is None else np.concatenate([lead, user]))

    def close(self) -> None:
        pass


class RecordedSession:
    def __init__(self, agent: Audio, user: Audio | None) -> None:
        self._agent = agent
        self._user = user
        self._frame = 0
        self._levels: list[tuple[float, float]] = []

    def step(self, frame: Audio) -> Step:
        self._compare(frame)
        self._frame += 1
        audio = self._agent[self._frame * FRAME_SIZE : (self._frame + 1) * FRAME_SIZE]
        if not audio.size:
            raise TalkEnded
        return Step(np.pad(audio, (0, FRAME_SIZE - audio.size)))

    def _compare(self, heard: Audio) -> None:
        if self._user is None:
            return
        recorded = self._user[self._frame * FRAME_SIZE : (self._frame + 1) * FRAME_SIZE]
        if recorded.size < FRAME_SIZE:
            return
        self._levels.append((float(np.sqrt(np.mean(heard**2))), float(np.sqrt(np.mean(recorded**2)))))
        a, b = np.array(self._levels).T
        judge = np.count_nonzero(a > VOICED_LEVEL) == MIN_FRAMES and a[-1] > VOICED_LEVEL
        if judge and (b.std() == 0 or np.corrcoef(a, b)[0, 1] < MIN_CORRELATION):
            raise InputError("the recording's user channel is not what this sample plays")

    def close(self) -> None:
        pass


def read_talk(folder: Path, sample_id: str) -> tuple[Audio, Audio | None]:
    """Agent and user channel at 24 kHz, [n] each; user is None where only the agent was recorded."""
    for suffix in SUFFIXES:
        both = folder / f"{sample_id}{suffix}"
        if both.is_file():
            sound = read_sound(both)
            if sound.samples.shape[0] != 2:
                raise InputError(f"{both} has {sound.samples.shape[0]} channel(s); left agent, right user are needed")
            agent, user = (resample(channel, sound.sample_rate, SAMPLE_RATE) for channel in sound.samples)
            return agent, user
        agent_file, user_file = folder / f"{sample_id}.agent{suffix}", folder / f"{sample_id}.user{suffix}"
        if agent_file.is_file():
            return read_channel(agent_file), read_channel(user_file) if user_file.is_file() else None
    raise InputError(f"no recording of sample {sample_id!r} in {folder}: expected {sample_id}.wav or .agent.wav")

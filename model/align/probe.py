"""A few free-running talks on tokens, while a model is trained: does it still listen, answer, and fall silent again?

Loss and margin do not show a collapse into silence or into endless talk; this does, without files, sound or a
detector. The users are codes that are handed in; the agent is the model itself, sampled from fixed seeds, so that two
probes differ by the model alone. All talks run side by side in one batch.

What counts as speech is the text stream's words, so times are those of tokens: a word sounds a little later. Whether
the sound still follows the words is a figure of its own, because text alone can be trained so hard that the agent
murmurs while it writes nothing. An agent that never speaks is no answer (wrong), not missing data; only when and how
long it spoke is then not known and left out. What a right answer is, is handed in as a function.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from model.lm import NO_INPUT, Decoding, DuplexLM, LMConfig
from protocols.duplex import FRAME
from protocols.errors import InputError

INTO_FRAMES = 5  # 0.4 s after its first word the agent is interrupted, where a user does that
REACT_FRAMES = 12  # 1 s from there on it may still speak
HEARD_FRAMES = 6  # and a word in the half second after that is talking on
SILENT_FRAMES = 20  # 1.6 s without a word end a reply (the paper's replay length)
BEFORE_FRAMES, AFTER_FRAMES = 3, 12  # around a word its sound may be heard
ENDLESS_SECONDS = 2.0  # a word in the last of these is said by an agent that does not stop


@dataclass(frozen=True, eq=False)
class Stimulus:
    """One user, from the first frame of the talk to its last; frames are the user's."""

    name: str
    codes: npt.NDArray[np.int16]  # [user streams, frames]
    end_frame: int  # the first one after the user's last sound
    pauses: tuple[tuple[int, int], ...] = ()  # first frame and the one after the last, inside the turn
    right: Callable[[str], bool] | None = None  # of the words said after the user's end; None: nothing is asked
    interruption: npt.NDArray[np.int16] | None = None  # [user streams, n], said into the answer in place of `codes`
    due_words: float | None = None  # of a reply without faults; None: not known


class Probe:
    """Calls `lm` with every stimulus; called with the model and the step, it gives the figures."""

    def __init__(
        self, stimuli: Sequence[Stimulus], words: Sequence[str], decoding: Decoding | None = None, seed: int = 0,
        silence: int | None = None,
    ) -> None:  # fmt: skip
        """`words`: of the text tokens, by id. `silence`: the agent's semantic code of it; None: not known."""
        if not stimuli:
            raise InputError("a probe needs at least one user to talk to")
        self._stimuli, self._words = tuple(stimuli), tuple(words)
        self._decoding, self._seed, self._silence = decoding or Decoding(), seed, silence

    def __call__(self, lm: DuplexLM, step: int = 0) -> dict[str, float]:
        said = self.talk(lm)
        silent = [lm.config.existing_text_padding_id, lm.config.existing_text_end_padding_id]
        read = [self._read(stimulus, agent, silent) for stimulus, agent in zip(self._stimuli, said, strict=True)]
        return _means(read)

    def talk(self, lm: DuplexLM) -> list[npt.NDArray[np.int64]]:
        """The agent in each talk: tokens [1 + dep_q, frames], NO_INPUT in the first frames' place of a delay."""
        users = lm.config.n_q - lm.config.dep_q
        for stimulus in self._stimuli:
            if len(stimulus.codes) != users:
                raise InputError(f"user {stimulus.name} has {len(stimulus.codes)} streams; the model hears {users}")
        lengths = torch.tensor([stimulus.codes.shape[1] for stimulus in self._stimuli])
        longest, device = int(lengths.max()), lm.norm.device
        heard = torch.full((len(lengths), users, longest), NO_INPUT)
        for row, stimulus in zip(heard, self._stimuli, strict=True):
            row[:, : stimulus.codes.shape[1]] = torch.from_numpy(stimulus.codes.astype(np.int64))
        seeds = [self._seed + number for number in range(len(lengths))]
        late = max(lm.config.delays)  # step s gives agent frame s - late
        interrupted, columns = _Interruptions(self._stimuli, lm.config, late), []
        with torch.no_grad(), lm.streaming(len(lengths), self._decoding):
            lm.reset(torch.ones(len(lengths), dtype=torch.bool, device=device), seeds)
            for frame in range(longest):
                given = lm.step(heard[:, :, frame].to(device), (frame < lengths).to(device))
                columns.append(given.tokens.cpu())
                interrupted.after(frame, columns[-1][:, 0], heard)
        agent = torch.stack(columns[late:], 2).numpy()
        return [talk[:, : max(int(n) - late, 0)] for talk, n in zip(agent, lengths, strict=True)]

    def _read(self, stimulus: Stimulus, agent: npt.NDArray[np.int64], silent: Sequence[int]) -> "Reading":
        text = agent[0]
        spoken = words_in(text, silent)
        after = np.flatnonzero(spoken[stimulus.end_frame :])
        reply = " ".join(self._words[token] for token in text[stimulus.end_frame :][after])
        last, replay = round(ENDLESS_SECONDS / FRAME), _replay(after) or None
        return Reading(
            spoke=bool(len(after)),
            right=None if stimulus.right is None else bool(len(after)) and stimulus.right(reply),
            cut_in=any(spoken[start:end].any() for start, end in stimulus.pauses) if stimulus.pauses else None,
            endless=bool(spoken[-last:].any()),
            latency=float(after[0]) * FRAME if len(after) else None,
            replay=replay,
            length=replay / stimulus.due_words if replay and stimulus.due_words else None,
            yielded=_yielded(stimulus, after),
            wordless=None if self._silence is None else unworded(spoken, agent[1], self._silence),
        )


class Reading(NamedTuple):
    """What one talk showed; None where it does not apply or is not known."""

    spoke: bool  # a word after the user's end
    right: bool | None
    cut_in: bool | None  # a word inside a pause of the user's
    endless: bool  # still speaking at the end
    latency: float | None  # seconds from the user's end to the first word
    replay: int | None  # words of the reply, until SILENT_FRAMES without one
    length: float | None  # the same over the words due
    yielded: bool | None  # silent a second after it was interrupted
    wordless: float | None  # of the time it says no word, the share in which it is heard


def _replay(after: npt.NDArray[np.intp]) -> int:
    gaps = np.flatnonzero(np.diff(after) > SILENT_FRAMES)
    return int(gaps[0]) + 1 if len(gaps) else len(after)


def _yielded(stimulus: Stimulus, after: npt.NDArray[np.intp]) -> bool | None:
    if stimulus.interruption is None or not len(after):
        return None
    still = after - (after[0] + INTO_FRAMES + REACT_FRAMES)
    return not ((still >= 0) & (still < HEARD_FRAMES)).any()


def words_in(text: npt.NDArray[np.integer], silent: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Where a text stream [frames] has a word: neither one of its padding tokens nor nothing."""
    return ~np.isin(text, [*silent, NO_INPUT])


def unworded(spoken: npt.NDArray[np.bool_], semantic: npt.NDArray[np.integer], silence: int) -> float | None:
    """Of the frames far from a word, the share that is no silence. [frames]; None: there is a word everywhere."""
    quiet = semantic != NO_INPUT
    for word in np.flatnonzero(spoken):
        quiet[max(word - BEFORE_FRAMES, 0) : word + AFTER_FRAMES + 1] = False
    return float(np.mean(semantic[quiet] != silence)) if quiet.any() else None


def murmurs(base: float, now: float) -> bool:
    """Whether so large a share of that kind is another model than the base, and not chance."""
    return now > max(0.05, 2 * base)


class _Interruptions:
    """Puts what a user says into the agent's answer into what the agent is about to hear."""

    def __init__(self, stimuli: Sequence[Stimulus], config: LMConfig, late: int) -> None:
        self._waiting = {row: s for row, s in enumerate(stimuli) if s.interruption is not None}
        self._silent = (config.existing_text_padding_id, config.existing_text_end_padding_id, NO_INPUT)
        self._late = late

    def after(self, frame: int, text: torch.Tensor, heard: torch.Tensor) -> None:
        """Step `frame` gave `text` [talks]: where an answer begins, write into `heard` [talks, streams, frames]."""
        for row, stimulus in list(self._waiting.items()):
            said = frame - self._late
            if said < stimulus.end_frame or int(text[row]) in self._silent:
                continue
            codes = self._waiting.pop(row).interruption
            assert codes is not None
            start = max(said + INTO_FRAMES, frame + 1)
            part = heard[row, :, start : min(start + codes.shape[1], stimulus.codes.shape[1])]
            part[:] = torch.from_numpy(codes[:, : part.shape[1]].astype(np.int64))


def _means(read: Sequence[Reading]) -> dict[str, float]:
    found = {}
    for name, values in zip(Reading._fields, zip(*read, strict=True), strict=True):
        if known := [value for value in values if value is not None]:
            found[name] = float(np.mean(known))
    return found


def alarms(base: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """Sentences on how it talks now beside how the base model talked: collapses, not mere changes."""
    found = []
    if now["spoke"] < base["spoke"] / 2:
        found.append(f"falls silent: speaks in {now['spoke']:.0%} of talks, {base['spoke']:.0%} before")
    if now["endless"] > max(0.5, 2 * base["endless"]):
        found.append(f"does not stop: still speaks at the end of {now['endless']:.0%} of talks")
    if (replay := now.get("replay", 0.0)) > 2 * max(before := base.get("replay", 0.0), 1.0):
        found.append(f"talks on: {replay:.1f} words a reply, {before:.1f} before")
    before, heard = base.get("wordless", 0.0), now.get("wordless", 0.0)
    if murmurs(before, heard):
        found.append(
            f"its sound leaves its words: heard in {heard:.0%} of the time it says nothing, {before:.0%} before"
        )
    return found

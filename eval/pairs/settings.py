"""Every threshold of pair building in one frozen value, so that it can be written beside what it made.

The paper names none of its thresholds. The defaults here are ours, in seconds, with the reason beside each; what an
outcome of a turn is comes from `eval.metrics.timing` and its settings.
"""

from typing import Literal, NamedTuple, get_args

from eval.metrics.timing.settings import DEFAULT, TimingSettings

TimingFault = Literal["cuts_in", "talks_over", "late", "silent", "does_not_yield", "stops_for_backchannel"]
TIMING_FAULTS: tuple[TimingFault, ...] = get_args(TimingFault)
Kind = Literal["content", "cuts_user", "silent", "mixed"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # A, B and C of the paper, and both at once

KIND_OF: dict[TimingFault, Kind] = {
    "cuts_in": "cuts_user",
    "talks_over": "cuts_user",
    "does_not_yield": "cuts_user",
    "silent": "silent",
    "late": "silent",
    "stops_for_backchannel": "silent",
}


class PairSettings(NamedTuple):
    """What can be turned. Seconds."""

    timing: TimingSettings = DEFAULT
    late_after: float = (
        1.5  # people wait about 1 s before they act on a silence; half a second more for the instruments
    )
    silent_after: float = 2.0  # a user who went on sooner did not wait for an answer
    turn_gap: float = 1.0  # user speech with shorter silences inside is one turn, where no events are given
    reply_after: float = 0.4  # from the user's end to a chosen reply that is moved or written
    yield_after: float = 0.4  # from an interruption to the silence of a chosen continuation
    longest_reply: float = 15.0  # continuations are cut here
    shortest_talk: float = 2.0
    window: float | None = None  # longest context and reply together; None: contexts begin with the talk
    per_talk: int = 2  # flagged replies used per talk: the first, and at most one further, as in the paper
    score_below: int = 3  # a critic's score (0 to 4) from here up is no fault, whatever else it says
    rated_below: int = 2  # a person's rating (0 to 4) of a talk under this is bad
    validation_share: float = 0.05  # of the talks, by their names
    seed: int = 0

    def described(self) -> dict[str, str]:
        """Each setting as text, for a dataset's card."""
        return {name: str(value) if name != "timing" else self.timing.turned() or "strict"
                for name, value in self._asdict().items()}  # fmt: skip

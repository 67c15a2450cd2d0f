"""The same talks under other thresholds: outcomes for a list of settings, from spans and words alone.

Nothing is heard again; a curve over thresholds costs as much as scoring. Where rankings of systems flip along a
curve, the threshold and not the systems made the ranking.
"""

from collections.abc import Iterable, Sequence

from eval.metrics.base import Heard, Metric, Reading
from eval.metrics.timing.figures import Figure, event_metric
from eval.metrics.timing.scene import ReadOut
from eval.metrics.timing.settings import DEFAULT, SECONDS_ONLY, SECONDS_OR_WORDS, STRICT, TimingSettings

TAKEOVER_RULES = tuple(DEFAULT._replace(takeover=rule) for rule in (STRICT, SECONDS_OR_WORDS, SECONDS_ONLY))


def over_takeover_seconds(seconds: Iterable[float], base: TimingSettings = DEFAULT) -> tuple[TimingSettings, ...]:
    """Settings that differ in how long speech must be to take the floor; words are not counted."""
    return tuple(base._replace(takeover=SECONDS_ONLY._replace(name=f"{s:g} s", seconds=s)) for s in seconds)


def over_takeover_words(words: Iterable[int], base: TimingSettings = DEFAULT) -> tuple[TimingSettings, ...]:
    """Settings that differ in how many words are still a backchannel; length is not looked at below an hour."""
    rule = SECONDS_OR_WORDS
    return tuple(
        base._replace(takeover=rule._replace(name=f"more than {n} words", seconds=3600.0, words=n)) for n in words
    )


def over_yield_window(seconds: Iterable[float], base: TimingSettings = DEFAULT) -> tuple[TimingSettings, ...]:
    """Settings that differ in how soon a stop counts as a reaction."""
    return tuple(base._replace(react_within=s) for s in seconds)


def swept(figure: Figure, settings: Sequence[TimingSettings], read_out: ReadOut = "vad") -> list[Metric]:
    """The figure once per settings, told apart by their scorers, for `eval.score.scores_by` over a whole run."""
    return [event_metric(figure, s, read_out) for s in settings]


def sweep(
    heard: Heard, figure: Figure, settings: Sequence[TimingSettings], read_out: ReadOut = "vad"
) -> list[list[Reading]]:
    """A figure's readings of one talk under each of the settings."""
    return [m.read(heard) for m in swept(figure, settings, read_out)]

"""How far the two read-outs, activity and words, disagree: a check of the instruments, not of the system.

Words without sound are a recogniser's inventions (they make a right silence a takeover); sound without words is
humming, noise or speech it missed. A run with much of either is to be distrusted whatever its figures are.
"""

from collections.abc import Callable, Sequence

from eval.metrics.base import Heard, Metric, Reading, evidence, whole_talk
from eval.metrics.timing.figures import NOT_HEARD, Figure, Finding, findings_maker
from eval.metrics.timing.scene import scene_maker
from eval.metrics.timing.settings import DEFAULT, TimingSettings
from protocols.records import MetricInfo
from protocols.timeline import intersect, subtract, total, union


def time_metric(settings: TimingSettings = DEFAULT) -> Metric:
    """Share of the agent's speaking time that only one read-out hears."""
    by_sound, by_words = scene_maker(settings, "vad"), scene_maker(settings, "words")

    def read(heard: Heard) -> list[Reading]:
        sound, words = heard.once(by_sound), heard.once(by_words)
        if sound is None or words is None:
            return [Reading(None, "not_heard", NOT_HEARD)]
        either = total(union(sound.speech, words.speech))
        if not either:
            return [Reading(None, "no_agent_speech", "the agent never speaks by either read-out")]
        differing = 1 - min(total(intersect(sound.speech, words.speech)) / either, 1.0)
        invented, unwritten = subtract(words.speech, sound.speech), subtract(sound.speech, words.speech)
        more_words = total(invented) > total(unwritten)
        outcome = "agree" if differing <= 0.1 else "words_without_sound" if more_words else "sound_without_words"
        shown = [evidence("words only", "agent", span, words.source) for span in invented[:20]]
        shown += [evidence("sound only", "agent", span, sound.source) for span in unwritten[:20]]
        return [Reading(differing, outcome, None, None, tuple(shown))]

    definition = (
        "Of the time in which activity detection or the transcriber's words (joined over silences under 0.2 s) have "
        "the agent speak, the share in which only one has. Outcomes: agree (at most 0.1), words_without_sound, "
        "sound_without_words."
    )
    degenerate = "No value if nobody listened for words, or neither read-out hears the agent."
    return Metric(_info("timing.readout_time", "Disagreement of read-outs, time", definition, degenerate, settings),
                  read, whole_talk, needs_words=True)  # fmt: skip


def outcome_metric(figures: Sequence[Figure], settings: TimingSettings = DEFAULT) -> Metric:
    """Share of a talk's event outcomes that differ between the read-outs."""
    rules = tuple(dict.fromkeys(f.rule for f in figures))
    pairs = [(findings_maker(r, settings, "vad"), findings_maker(r, settings, "words")) for r in rules]

    def read(heard: Heard) -> list[Reading]:
        compared = [_compare(heard, by_sound, by_words) for by_sound, by_words in pairs]
        if any(c is None for c in compared):
            return [Reading(None, "not_heard", NOT_HEARD)]
        differ = [d for c in compared if c is not None for d in c]
        if not differ:
            return [Reading(None, "no_events", "the talk has no events to judge")]
        return [Reading(sum(differ) / len(differ), "differ" if any(differ) else "agree")]

    definition = (
        "Share of the outcomes of a talk's events that activity detection and a transcriber's words give differently."
    )
    degenerate = "No value if nobody listened for words, or the talk has no events."
    info = _info("timing.readout_outcome", "Disagreement of read-outs, outcomes", definition, degenerate, settings)
    return Metric(info, read, whole_talk, needs_words=True)


def _compare(
    heard: Heard,
    by_sound: Callable[[Heard], list[Finding] | None],
    by_words: Callable[[Heard], list[Finding] | None],
) -> list[bool] | None:
    sound, words = heard.once(by_sound), heard.once(by_words)
    if sound is None or words is None:
        return None
    return [a.outcome != b.outcome for a, b in zip(sound, words, strict=True)]


def _info(name: str, title: str, definition: str, degenerate: str, settings: TimingSettings) -> MetricInfo:
    return MetricInfo(name, "1" + settings.turned(), title, "share", "continuous", "none", 0.05, definition, degenerate)

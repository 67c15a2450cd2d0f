"""Full-Duplex-Bench's rules as metrics of our runs.

Words are a transcriber's, as in the published scripts (theirs is another recogniser: figures move with it). A
published rate is the mean of these per-talk values; frequency and divergence are per file as well. Where an agent
should only listen (pauses, backchannels) the published files end with the user's audio; our talks have a tail in which
it should answer, so that tail is left out of those rules.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from eval.metrics.base import Heard, Metric, Reading, each_event, evidence, whole_talk
from eval.metrics.compat import fdb, fdb15
from eval.metrics.compat.fdb_backchannel import Backchannels, divergence, frequency, read_segments
from eval.metrics.compat.quirks import PUBLISHED, Quirks
from protocols.records import Event, MetricInfo, Sample, Word
from protocols.timeline import Span, clip

NOT_HEARD = "no transcriber listened to this talk"
Better = Literal["higher", "lower"]


def fdb_metrics(quirks: Quirks = PUBLISHED) -> tuple[Metric, ...]:
    """v1 by events and files, and v1.5's two lists as means per file."""
    return (
        _takeover("pause_tor", "Takeovers, pause handling", "lower", "pause", quirks),
        _takeover("turn_tor", "Takeovers, turns", "higher", "turn", quirks),
        _turn_latency(quirks),
        _interruption(False, quirks),
        _interruption(True, quirks),
        _backchannel_takeover(quirks),
        _backchannel_frequency(quirks),
        _intervals("stop_latency", "Overlaps (\"stops\")", lambda i: i.stops),
        _intervals("response_latency", "Responses", lambda i: i.responses),
    )  # fmt: skip


def _words(heard: Heard) -> tuple[Word, ...] | None:
    transcript = heard.speech_transcript()
    return None if transcript is None else transcript.words


def _file_end(heard: Heard) -> float:
    """Where the user's audio ends, as the published files do."""
    return min(heard.talk.user_offset + heard.sample.length, heard.duration)


def _user_start(heard: Heard) -> float:
    return min((e.start for e in heard.talk.events if e.missed is None), default=0.0)


def _if_any(kind: str) -> Callable[[Sample], list[int | None]]:
    """For rules with one verdict per file, in files of a kind."""

    def applies(sample: Sample) -> list[int | None]:
        return [None] if any(e.kind == kind for e in sample.events) else []

    return applies


def _said(heard: Heard, words: Sequence[Word]) -> Reading:
    taken = Span(min(w.start for w in words), max(w.end for w in words))
    transcript = heard.speech_transcript()
    source = "" if transcript is None else transcript.source
    shown = (evidence("words", "agent", taken, source, " ".join(w.text for w in words)),)
    return Reading(1.0, "takeover", None, None, shown)


def _takeover(name: str, title: str, better: Better, kind: str, quirks: Quirks) -> Metric:
    def read(heard: Heard) -> list[Reading]:
        if not heard.events(kind):
            return []
        words = _words(heard)
        if words is None:
            return [Reading(None, "not_heard", NOT_HEARD)]
        if kind == "pause":
            words = tuple(w for w in words if w.start < _file_end(heard))
        if fdb.takeover(words, quirks, _user_start(heard)):
            return [_said(heard, words)]
        return [Reading(0.0, "no_takeover")]

    definition = (
        "Full-Duplex-Bench v1: 0 if the agent says nothing, or at most 3 words that span less than 1 s from the first "
        "to the last of the whole file, else 1."
    )
    return Metric(_info(f"fdb.{name}", title, "share", "binary", better, definition, quirks), read, _if_any(kind), True)


def _turn_latency(quirks: Quirks) -> Metric:
    def read(heard: Heard) -> list[Reading]:
        ends = [e.end for _, e in heard.events("turn") if e.missed is None]
        if not heard.events("turn"):
            return []
        words = _words(heard)
        if words is None:
            return [Reading(None, "not_heard", NOT_HEARD)]
        late = fdb.turn_latency(words, max(ends), quirks, _user_start(heard)) if ends else None
        if late is None:
            return [Reading(None, "no_takeover", "the agent did not take the floor")]
        return [Reading(late, "takeover")]

    definition = (
        "Full-Duplex-Bench v1: start of the agent's first word minus end of the user's turn (the talk's last one), "
        "negative values as 0, in talks with a takeover."
    )
    info = _info("fdb.turn_latency", "Latency, turns", "s", "continuous", "lower", definition, quirks)
    return Metric(info, read, _if_any("turn"), True)


def _interruption(latency: bool, quirks: Quirks) -> Metric:
    def reading(words: Sequence[Word], index: int, event: Event) -> Reading:
        if event.missed is not None:
            return Reading(None, "not_exercised", event.missed or "the event did not happen", index)
        took, late = fdb.interruption(words, Span(event.start, event.end), quirks)
        outcome = "takeover" if took else "no_takeover"
        if not latency:
            return Reading(float(took), outcome, None, index)
        return Reading(late, outcome, None if late is not None else "the agent did not take the floor", index)

    def read(heard: Heard) -> list[Reading]:
        words = _words(heard)
        events = heard.events("interruption")
        if words is None:
            return [Reading(None, "not_heard", NOT_HEARD, index) for index, _ in events]
        return [reading(words, index, event) for index, event in events]

    definition = "Full-Duplex-Bench v1, on the words after the end of the user's interruption: "
    if latency:
        definition += "first word's start minus that end, in talks with a takeover."
        info = _info(
            "fdb.interruption_latency", "Latency, interruptions", "s", "continuous", "lower", definition, quirks
        )
    else:
        definition += "0 for no words, or at most 3 that span less than 1 s, else 1."
        info = _info(
            "fdb.interruption_tor", "Takeovers, interruptions", "share", "binary", "higher", definition, quirks
        )
    return Metric(info, read, each_event("interruption"), True)


def _segments(heard: Heard, quirks: Quirks) -> Backchannels | Reading:
    """The file's segments, or the reading of a talk that has none to read."""
    words = _words(heard)
    end = _file_end(heard)
    if words is None:
        return Reading(None, "not_heard", NOT_HEARD)
    if end <= 0:
        return Reading(None, "empty", "the user's audio is empty")
    return read_segments(clip(heard.spans("agent"), Span(0, end)), words, quirks)


def _backchannel_takeover(quirks: Quirks) -> Metric:
    def read(heard: Heard) -> list[Reading]:
        found = _segments(heard, quirks)
        if isinstance(found, Reading):
            return [found]
        return [Reading(float(found.takeover), "takeover" if found.takeover else "no_takeover")]

    definition = (
        "Full-Duplex-Bench v1, backchannel files: per detected agent segment, 1 if longer than 3 s (reading stops "
        "there), or 1 s or longer, or over more than 2 words, else 0; the last segment decides."
    )
    info = _info("fdb.backchannel_tor", "Takeovers, backchannels", "share", "binary", "lower", definition, quirks)
    return Metric(info, read, whole_talk, True)


def _backchannel_frequency(quirks: Quirks) -> Metric:
    def read(heard: Heard) -> list[Reading]:
        found = _segments(heard, quirks)
        if isinstance(found, Reading):
            return [found]
        shown = tuple(evidence("segment", "agent", s, heard.activity_source) for s in found.counted)
        return [Reading(frequency(found, _file_end(heard)), "counted" if shown else "none", None, None, shown)]

    definition = "Full-Duplex-Bench v1: agent segments of at most 3 s per second of the file, takeovers included."
    info = _info("fdb.backchannel_freq", "Backchannels per second", "/s", "continuous", "higher", definition, quirks)
    return Metric(info, read, whole_talk, True)


def jsd_metric(references: Mapping[str, Sequence[float]], quirks: Quirks = PUBLISHED) -> Metric:
    """Distance to people's backchannel times, given their 0.2 s histogram per sample id (none is shipped)."""

    def read(heard: Heard) -> list[Reading]:
        found = _segments(heard, quirks)
        if isinstance(found, Reading):
            return [found]
        reference = references.get(heard.sample.id)
        if reference is None or sum(reference) <= 0:
            return [Reading(None, "no_reference", f"no human histogram is known for sample {heard.sample.id!r}")]
        value = divergence(found, _file_end(heard), reference, quirks)
        if value is None:
            return [Reading(None, "none", "the agent gives no backchannel")]
        return [Reading(value, "compared" if found.counted else "none")]

    definition = (
        "Full-Duplex-Bench v1: root of the Jensen-Shannon divergence (natural logarithm) between the 0.2 s histogram "
        "of the agent's backchannels and people's; 1.0 without any."
    )
    info = _info(
        "fdb.backchannel_jsd", "Distance to people's backchannels", "nat^0.5", "continuous", "lower", definition, quirks
    )
    return Metric(info, read, whole_talk, True)


def _intervals(name: str, title: str, which: Callable[[fdb15.Intervals], tuple[Span, ...]]) -> Metric:
    def read(heard: Heard) -> list[Reading]:
        found = which(fdb15.intervals(heard.spans("agent"), heard.spans("user")))
        if not found:
            return [Reading(None, "none", "the file has no such interval")]
        shown = tuple(evidence(name, "agent", s, heard.activity_source) for s in found)
        return [Reading(sum(s.duration for s in found) / len(found), "measured", None, None, shown)]

    definition = (
        "Full-Duplex-Bench v1.5: mean length of the file's overlaps of user and agent segments."
        if name == "stop_latency"
        else "Full-Duplex-Bench v1.5: mean time from a user segment's end to the next later agent start."
    ) + " Gaps of up to 0.6 s (user) and 0.5 s (agent) are joined; the mean over a file is ours, the rule defines none."
    info = _info(f"fdb15.{name}", title, "s", "continuous", "lower", definition, PUBLISHED)
    return Metric(info, read, whole_talk)


def _info(
    name: str, title: str, unit: str, kind: Literal["binary", "continuous"], better: Better, definition: str,
    quirks: Quirks,
) -> MetricInfo:  # fmt: skip
    version = "1" if name.startswith("fdb15") else "1" + quirks.named()
    margin = {"s": 0.1, "/s": 0.01}.get(unit, 0.05)
    degenerate = "As published: an agent that says nothing takes nothing over, which some tasks reward."
    return MetricInfo(f"compat.{name}", version, f"{title} (FDB)", unit, kind, better, margin, definition, degenerate)

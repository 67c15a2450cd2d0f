"""The figures of a whole talk's dynamics, one reading per talk: counts and seconds per minute, shares, offsets.

They describe, so most have no better direction. A talk in which one side never speaks has no dynamics: no value.
"""

from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from eval.metrics.base import Heard, Metric, Reading, evidence, whole_talk
from eval.metrics.timing.dynamics import Dynamics, dynamics_of
from eval.metrics.timing.scene import scene_maker
from eval.metrics.timing.settings import DEFAULT, TimingSettings
from protocols.records import Channel, Evidence, MetricInfo
from protocols.timeline import Track, intersect, total

MAX_SHOWN = 50  # spans of evidence per reading


class Count(NamedTuple):
    """Spans of a talk, to be counted or summed per minute."""

    name: str
    title: str
    what: str  # for the definition
    channel: Channel
    spans: Callable[[Dynamics], Track]


COUNTS = (
    Count("ipu", "Inter-pausal units of the agent", "inter-pausal units of the agent (speech bounded by at least 0.2 s "
          "of its own silence)", "agent", lambda d: d.agent),
    Count("user_ipu", "Inter-pausal units of the user", "inter-pausal units of the user", "user", lambda d: d.user),
    Count("pause", "Pauses", "silences of both sides after which the same side goes on", "agent", lambda d: d.pauses),
    Count("gap", "Gaps", "silences of both sides after which the other side goes on", "agent", lambda d: d.gaps),
    Count("overlap_ipu", "Overlaps", "overlaps of both sides' inter-pausal units", "agent", lambda d: d.overlaps),
)  # fmt: skip


def one_sided(heard: Heard) -> Reading | None:
    """The reading of a talk in which somebody never speaks; None if both do."""
    for channel in ("agent", "user"):
        if not heard.spans(channel):
            return Reading(None, f"no_{channel}_speech", f"the {channel} never speaks, so there are no dynamics")
    return Reading(None, "empty", "the recording is empty") if heard.duration <= 0 else None


def _counted(count: Count, seconds: bool) -> Metric:
    def read(heard: Heard) -> list[Reading]:
        if silent := one_sided(heard):
            return [silent]
        spans = count.spans(heard.once(dynamics_of))
        amount = total(spans) if seconds else len(spans)
        shown = _shown(count.title.lower(), count.channel, spans, heard.activity_source)
        return [Reading(60 * amount / heard.duration, "counted" if spans else "none", None, None, shown)]

    unit = "s/min" if seconds else "/min"
    what = ("Seconds of " if seconds else "Number of ") + count.what + ", per minute of the talk. Merged, then counted."
    name = f"timing.{count.name}_{'time' if seconds else 'rate'}"
    return Metric(_info(name, f"{count.title}, {'time' if seconds else 'number'}", unit, 1.0, what), read, whole_talk)


def _shown(label: str, channel: Channel, spans: Track, source: str) -> tuple[Evidence, ...]:
    return tuple(evidence(label, channel, span, source) for span in spans[:MAX_SHOWN])


def _talk_share(channel: Channel) -> Metric:
    def read(heard: Heard) -> list[Reading]:
        if silent := one_sided(heard):
            return [silent]
        return [Reading(total(heard.spans(channel)) / heard.duration, "shared")]

    what = f"Share of the talk's time in which the {channel} speaks; both shares may add up to more or less than 1."
    return Metric(_info(f"timing.talk_share_{channel}", f"Talk share of the {channel}", "share", 0.05, what),
                  read, whole_talk)  # fmt: skip


def _offset(negative: bool) -> Metric:
    def read(heard: Heard) -> list[Reading]:
        if silent := one_sided(heard):
            return [silent]
        taken = [t for t in heard.once(dynamics_of).transfers if t.to == "agent"]
        if not taken:
            return [Reading(None, "none", "the floor never goes from the user to the agent")]
        offsets = [t.offset for t in taken]
        shown = tuple(evidence("transfer", "agent", t.span, heard.activity_source) for t in taken[:MAX_SHOWN])
        value = sum(o < 0 for o in offsets) / len(offsets) if negative else median(offsets)
        return [Reading(value, "transferred", None, None, shown)]

    what = "over the talk's floor transfers from user to agent (start of the agent's unit minus end of the user's, "
    what += "negative in overlap; a unit inside the other side's unit transfers nothing)."
    if negative:
        return Metric(_info("timing.transfer_overlap", "Floor transfers in overlap", "share", 0.05,
                            "Share of negative offsets " + what), read, whole_talk)  # fmt: skip
    return Metric(_info("timing.transfer_offset", "Floor-transfer offset", "s", 0.1, "Median offset " + what),
                  read, whole_talk)  # fmt: skip


def _backchannel_rate(settings: TimingSettings) -> Metric:
    make = scene_maker(settings, "vad")

    def read(heard: Heard) -> list[Reading]:
        if silent := one_sided(heard):
            return [silent]
        scene = heard.once(make)
        spans = () if scene is None else scene.backchannels
        shown = _shown("backchannel", "agent", spans, heard.activity_source)
        return [Reading(60 * len(spans) / heard.duration, "counted" if spans else "none", None, None, shown)]

    what = "Backchannels of the agent per minute of the talk: speech (joined over silences under 0.5 s) that does not "
    what += "take the floor."
    return Metric(_info("timing.backchannel_rate", "Backchannels of the agent", "/min", 0.5, what, settings),
                  read, whole_talk)  # fmt: skip


def _read_overlap(heard: Heard) -> list[Reading]:
    if silent := one_sided(heard):
        return [silent]
    both = intersect(heard.spans("agent"), heard.spans("user"))
    found = tuple(evidence("overlap", "agent", span, heard.activity_source) for span in both)
    return [Reading(60 * total(both) / heard.duration, "overlap" if both else "none", None, None, found)]


def _info(
    name: str, title: str, unit: str, margin: float, definition: str, settings: TimingSettings = DEFAULT
) -> MetricInfo:
    return MetricInfo(name, "1" + settings.turned(), title, unit, "continuous", "none", margin, definition,
                      "No value if either side never speaks.")  # fmt: skip


OVERLAP = Metric(
    MetricInfo(
        name="timing.overlap",
        version="1",
        title="Overlapping speech",
        unit="s/min",
        kind="continuous",
        better="lower",
        margin=1.0,
        definition="Seconds in which agent and user speak at once, per minute of the talk.",
        degenerate="No value if either side never speaks.",
    ),
    _read_overlap,
    whole_talk,
)


def flow_metrics(settings: TimingSettings = DEFAULT) -> tuple[Metric, ...]:
    """Every figure of a talk's dynamics."""
    return (
        OVERLAP,
        *(_counted(count, seconds) for count in COUNTS for seconds in (False, True)),
        _talk_share("agent"),
        _talk_share("user"),
        _offset(negative=False),
        _offset(negative=True),
        _backchannel_rate(settings),
    )

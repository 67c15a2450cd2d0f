"""How a run was made: everything that must be the same before two runs may be compared, and what else to know."""

from typing import Literal

from protocols.base import Record, Value
from protocols.records import MetricInfo, Pacing, Seconds


class Protocol(Value, frozen=True):
    """Everything two runs must have in common before their difference means anything."""

    suite: str
    dataset_sha256: str
    repeats: int  # talks per sample
    seed: int
    lead_in: Seconds
    tail: Seconds
    greeting: Literal["none", "wait"]
    clock: Literal["simulated", "real-time"]  # pacing
    jitter_limit: Seconds | None = None  # in real time: a talk with later frames (99th percentile) fails
    agent_onset: str | None = None  # the rule by which cues that wait for the agent are played
    user: dict[str, float | int | str | bool] = {}  # a simulated user: who speaks, and at which declared rates
    decoding: dict[str, float | int | str | bool] = {}
    listeners: tuple[str, ...] = ()  # activity detector, transcriber and aligner, with versions
    scorers: tuple[str, ...] = ()

    def differences(self, other: "Protocol") -> list[str]:
        """Each field, or entry of a field, in which two protocols differ, as a phrase."""
        pairs = ((name.replace("_", " "), getattr(self, name), getattr(other, name)) for name in self.__struct_fields__)
        return [phrase for name, a, b in pairs if a != b for phrase in _phrases(name, a, b)]


def _phrases(name: str, a: object, b: object) -> list[str]:
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return [f"{name} {a!r} against {b!r}"]
    keys = dict.fromkeys([*a, *b])
    return [
        f"{name} {key} {_entry(a, key)} against {_entry(b, key)}"
        for key in keys
        if key not in a or key not in b or a[key] != b[key]
    ]


def _entry(values: dict[str, object], key: str) -> str:
    return repr(values[key]) if key in values else "not given"


class RunInfo(Record, frozen=True, tag="run/1"):
    """How a run was made: the first file written, the last one updated."""

    system: str
    system_version: str
    protocol: Protocol
    status: Literal["running", "interrupted", "done"]
    started_at: str
    n_planned: int
    metrics: tuple[MetricInfo, ...] = ()
    tasks: dict[str, tuple[str, ...]] = {}  # task -> names of the metrics that score it
    versions: dict[str, str] = {}
    pacing: Pacing | None = None  # in real time: of the talk that kept its schedule worst
    sealed: dict[str, tuple[int, str]] = {}  # file -> (bytes, sha256) when last sealed

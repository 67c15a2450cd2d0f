"""The known faults of Full-Duplex-Bench v1 (rules of revision 2026-05), each with a name and a switch.

All on is the published rule; all off is what it presumably means. A row that is compared with a published table
must have all of them on.
"""

from typing import NamedTuple


class Quirks(NamedTuple):
    greeting_counts: bool = True  # what the agent says before the user has spoken is part of its takeover
    whole_file_span: bool = True  # two "yeah"s five seconds apart span five seconds: a takeover
    early_is_zero: bool = True  # an answer that comes before the user's end has a latency of 0
    talking_through_succeeds: bool = True  # never stopping is a takeover after an interruption, with about 0 s
    last_segment_decides: bool = True  # each segment's verdict on backchannel files overwrites the one before
    takeovers_are_backchannels: bool = True  # takeovers of up to 3 s count for the frequency and the histogram
    silence_is_one: bool = True  # a file without backchannels has the divergence 1.0, above its maximum of 0.833

    def named(self) -> str:
        """The quirks that are off, for a scorer's version; "" if none is."""
        off = [name for name, on in self._asdict().items() if not on]
        return "".join(f",no {name}" for name in off)


PUBLISHED = Quirks()
MEANT = Quirks(*[False] * len(Quirks._fields))

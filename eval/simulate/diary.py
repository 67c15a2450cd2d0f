"""What a simulated user meant to do in a talk, and what it really did: the events of the sample and of the talk.

Every planned event has its place in the list before the talk; one that does not come about says why (`missed`), so an
event's number means the same in every talk of a scenario and nothing that failed leaves the denominator.
"""

from typing import NamedTuple

import msgspec

from eval.channel import ENDED
from eval.simulate.manner import Over, Plan, can_pause
from eval.simulate.mouth import Spoken
from protocols.records import Event, EventKind
from protocols.timeline import Span

MADE = "made"


class Slot(NamedTuple):
    """Where a turn's events lie in the list."""

    turn: int
    pause: int | None
    over: int | None


class Diary:
    """The events of one talk; times are seconds on its clock."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._slots: list[Slot] = []

    def plan(self, text: str, plan: Plan) -> None:
        """Make room for one more turn's events; `text` is "" where it is not yet known."""
        pauses = plan.pause is not None and (not text or can_pause(text))
        self._slots.append(
            Slot(
                self._add("turn", text.replace("|", " ")),
                self._add("pause") if pauses else None,
                self._add(plan.over) if plan.over else None,
            )
        )

    @property
    def turns(self) -> int:
        return len(self._slots)

    def has_pause(self, turn: int) -> bool:
        return self._slots[turn].pause is not None

    def said(self, turn: int, at: float, spoken: Spoken) -> None:
        """The turn's sound begins at `at`."""
        slot = self._slots[turn]
        self._set(slot.turn, at, spoken.speech, spoken.text)
        if slot.pause is not None and spoken.pause is not None:
            self._set(slot.pause, at, spoken.pause, "pause")
        elif slot.pause is not None:
            self.miss(slot.pause, "what was said had no place for a pause")

    def over(self, turn: int, at: float, spoken: Spoken) -> None:
        """What is said into the reply to a turn begins at `at`."""
        index = self._slots[turn].over
        assert index is not None
        self._set(index, at, spoken.speech, spoken.text)

    def reply_over(self, turn: int, after: float) -> None:
        """The reply to a turn is over; what was to be said into it was not."""
        index = self._slots[turn].over
        if index is not None and self._events[index].missed is not None:
            self.miss(index, f"the agent never spoke for {after:g} s after this turn")

    def left_out(self, turn: int, why: str) -> None:
        for index in self._slots[turn]:
            if index is not None and self._events[index].missed is not None:
                self.miss(index, why)

    def miss(self, index: int, why: str) -> None:
        self._events[index] = msgspec.structs.replace(self._events[index], missed=why)

    def planned(self) -> tuple[Event, ...]:
        """For the sample: all events at 0 s, because nothing of theirs is known but their order."""
        return tuple(msgspec.structs.replace(event, missed=None, source="planned") for event in self._events)

    def events(self, duration: float) -> tuple[Event, ...]:
        """For the talk: what happened, and what did not, at the talk's end."""
        return tuple(self._settled(event, duration) for event in self._events)

    def _settled(self, event: Event, duration: float) -> Event:
        if event.missed is None and event.start < duration:
            return event
        return msgspec.structs.replace(event, start=duration, end=duration, missed=event.missed or ENDED)

    def _add(self, kind: EventKind | Over, label: str = "") -> int:
        label = " ".join(label.split())
        self._events.append(Event(kind, 0.0, 0.0, MADE, label, missed=ENDED))
        return len(self._events) - 1

    def _set(self, index: int, at: float, span: Span, label: str) -> None:
        kind = self._events[index].kind
        self._events[index] = Event(kind, round(at + span.start, 6), round(at + span.end, 6), MADE, label)

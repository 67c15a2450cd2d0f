"""Who may talk now: a fixed number of slots, and a line of people who wait for one.

First come, first served. A place in the line lasts as long as its owner is there: leaving is the caller's duty, and
moves everybody up. A place may change its owner (a second tab) without moving. Nothing here knows sockets or systems.
"""

import asyncio
from typing import Protocol


class Waiter(Protocol):
    """Whoever waits at a place."""

    def wait_at(self, position: int) -> None:
        """Hear the position, 1 is next."""

    def move_away(self) -> None:
        """Hear that somebody else has taken the place over."""


class Place:
    """One visitor's place: waiting at a position (1 is next), or admitted."""

    def __init__(self, owner: Waiter) -> None:
        self.owner = owner
        self.admitted = asyncio.Event()


class Admission:
    def __init__(self, slots: int, longest_line: int = 200) -> None:
        self.slots = slots
        self._longest_line = longest_line
        self._inside: set[Place] = set()
        self._line: list[Place] = []

    @property
    def inside(self) -> int:
        return len(self._inside)

    @property
    def waiting(self) -> int:
        return len(self._line)

    def enter(self, owner: Waiter) -> Place | None:
        """A place, admitted at once if there is a slot; None if the line is full. The owner hears each position."""
        if len(self._line) >= self._longest_line:
            return None
        place = Place(owner)
        self._line.append(place)
        self._advance()
        self._tell(place)
        return place

    def hand_over(self, place: Place, owner: Waiter) -> None:
        """The same place, for another owner."""
        place.owner.move_away()
        place.owner = owner
        self._tell(place)

    def leave(self, place: Place) -> None:
        """Give a place back, whether waiting or admitted; a second time does nothing."""
        if place in self._inside:
            self._inside.remove(place)
        elif place in self._line:
            self._line.remove(place)
        else:
            return
        self._advance()
        for waiting in self._line:
            self._tell(waiting)

    def _tell(self, place: Place) -> None:
        if place in self._line:
            place.owner.wait_at(self._line.index(place) + 1)

    def _advance(self) -> None:
        while self._line and len(self._inside) < self.slots:
            place = self._line.pop(0)
            self._inside.add(place)
            place.admitted.set()

"""Talks over WebSockets: who may speak to which system, and what becomes of a talk whose socket breaks.

`Live` holds the systems (each with its stepper and its slots) and every talk in progress. A talk outlives its socket:
a page that comes back within the rule's time goes on where it was; a page that does not voids its talk. What is not
from a page of ours is refused, logged, and touches no other talk. All state lives on the event loop's thread; the
steppers hand their results over.

Which talk a person may have, and in which order, is decided by whoever calls `invite`; that caller names the talk, so
that it can find it again, asks `ended`, and hears of each closed folder by `on_closed`.
"""

import asyncio
import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from app.live.admission import Admission, Place, Waiter
from app.live.folder import LiveTalk, TalkFolder, read_talk, recover
from app.live.stepper import Done, Stepper
from app.live.talk import Ending, Rules, Talk
from app.live.tokens import Pass, Signer, TokenRefused, is_talk_id, key_in, new_talk_id
from app.live.wire import Hello, Outcome, Over
from protocols.duplex import DuplexSystem
from protocols.errors import InputError, StoreError, unknown_name

log = logging.getLogger("duologue.live")

AGAIN = 3.0  # seconds until a folder that could not be closed is tried again


class Invitation(NamedTuple):
    """A talk that may be held."""

    talk: str
    arm: str  # which system; known to the server alone
    rules: Rules


class Running(NamedTuple):
    """A talk in progress, as a researcher may watch it."""

    talk: str
    arm: str
    seconds: float  # on the page's clock
    lag: float | None  # seconds; None: not known yet
    connected: bool


class Options(NamedTuple):
    """How the server runs; seconds."""

    rules: Rules = Rules()
    slots: int | None = None  # talks at once per system; None: as many as the system has
    origins: tuple[str, ...] = ()  # other origins than our own whose pages may connect
    per_address: int = 16  # connections
    silence: float = 5.0  # without any message: the connection is dead
    token_age: int = 3_600


class Arm(NamedTuple):
    """A system that talks are held with."""

    stepper: Stepper
    admission: Admission


class Live:
    """Give it systems, `start` it on an event loop, `invite` people."""

    def __init__(
        self,
        root: Path,
        systems: Mapping[str, DuplexSystem],
        options: Options | None = None,
        on_closed: Callable[[Path], None] = lambda folder: None,
    ) -> None:
        """`on_closed` gets the folder of each talk that has ended, one after the other, on a thread; those that a crash
        ended come first. Who must not miss one asks `ended` after a restart: a crash may fall between the two."""
        self.root = root
        self.options = options = options or Options()
        self.signer = Signer(key_in(root), options.token_age)
        self.recovered = recover(root)
        self._on_closed, self._one_by_one = on_closed, threading.Lock()
        self.addresses: Counter[str] = Counter()
        self._arms = {
            name: Arm(Stepper(system, self._deliver), Admission(min(options.slots or 10_000, system.info.slots)))
            for name, system in systems.items()
        }
        self._invited: dict[str, Invitation] = {}
        self._beginning: dict[str, asyncio.Task[Talk]] = {}
        self._talks: dict[str, Talk] = {}
        self._places: dict[str, Place] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._endings: dict[str, Ending] = {}  # of talks whose folder is being closed

    def start(self) -> None:
        """Begin to step; call it on the event loop."""
        self._loop = asyncio.get_running_loop()
        for arm in self._arms.values():
            arm.stepper.start()
        for talk in self.recovered:
            self._hand_on(talk.id, self._announce, talk.id)

    async def close(self) -> None:
        """Void the talks in progress and end the systems."""
        for talk in list(self._talks.values()):
            talk.end("voided", "the server was stopped")
        await asyncio.gather(*self._closing.values(), return_exceptions=True)
        for arm in self._arms.values():
            await asyncio.to_thread(arm.stepper.close)

    # --- for the caller: call these on the event loop ---

    def invite(self, arm: str, rules: Rules | None = None, talk: str | None = None) -> str:
        """A token that opens a talk with an arm, or goes on with it if it is in progress; if it has ended, the page is
        told so. `talk`: the caller's own id (`tokens.new_talk_id`), so that it may be invited to again."""
        if arm not in self._arms:
            raise unknown_name("arm", arm, self._arms)
        talk = talk or new_talk_id()
        if not is_talk_id(talk):
            raise InputError(f"{talk!r} is no talk's id; make one with app.live.tokens.new_talk_id")
        if (running := self._talks.get(talk)) is not None:
            return self.signer.sign(Pass(talk, running.connection))
        self._invited[talk] = Invitation(talk, arm, rules or self.options.rules)
        if len(self._invited) > 10_000:  # pages that were opened and never used
            del self._invited[next(iter(self._invited))]
        return self.signer.sign(Pass(talk, 0))

    def ended(self, talk: str) -> Ending | None:
        """How a talk ended, at once when it has; None if it goes on, waits, or never began."""
        if talk in self._talks or not is_talk_id(talk):
            return None
        if (ending := self._endings.get(talk)) is not None:
            return ending
        if not (self.root / talk).is_dir():
            return None
        record = read_talk(self.root / talk)
        outcome: Outcome = "done" if record.status == "done" else "voided"
        return Ending(outcome, record.reason or "the talk was over", record.detail)

    def void(self, talk: str, reason: str) -> None:
        """End a talk in progress that is not to count; nothing if there is none."""
        if (running := self._talks.get(talk)) is not None:
            running.end("voided", reason)

    def running(self) -> list[Running]:
        """Every talk in progress."""
        return [
            Running(talk, self._invited[talk].arm, now.samples / now.rate, now.lag, now.line is not None)
            for talk, now in self._talks.items()
        ]

    def waiting(self, arm: str) -> int:
        """How many people wait for an arm."""
        return self._arms[arm].admission.waiting

    def talk_of(self, token: str) -> str:
        """The id of the talk a token is for."""
        return self.signer.read(token).talk

    # --- for a connection ---

    def is_ours(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may talk to the server that was addressed as `host`."""
        return origin in self.options.origins or (bool(host) and urlsplit(origin).netloc == host)

    def find(self, right: Pass) -> Talk | Over | Invitation:
        """What a token that we signed opens now. TokenRefused says why it opens nothing."""
        if (talk := self._talks.get(right.talk)) is not None:
            if right.connection < talk.connection:
                raise TokenRefused("this link was used before")
            return talk
        if (ending := self.ended(right.talk)) is not None:
            return Over(ending.outcome, ending.reason)
        if right.connection or right.talk not in self._invited:
            raise TokenRefused("this link is no longer known; ask for a new one")
        return self._invited[right.talk]

    def enter(self, invitation: Invitation, owner: Waiter) -> Place:
        """A place for a talk: in the line, at its system, or the one that another tab held. InputError if there is
        none."""
        admission = self._arms[invitation.arm].admission
        place = self._places.get(invitation.talk)
        if place is not None:
            admission.hand_over(place, owner)
        else:
            place = admission.enter(owner)
        if place is None:
            raise InputError("too many people are waiting; please come back later")
        self._places[invitation.talk] = place
        return place

    def leave(self, invitation: Invitation) -> None:
        """Give the place back that a talk had in the line or at its system."""
        if (place := self._places.pop(invitation.talk, None)) is not None:
            self._arms[invitation.arm].admission.leave(place)

    async def begin(self, invitation: Invitation, hello: Hello) -> Talk:
        """Start the talk that a visitor was admitted to; a second tab that comes meanwhile gets the same one."""
        beginning = self._beginning.get(invitation.talk)
        if beginning is None:
            beginning = asyncio.create_task(self._begin(invitation, hello))
            self._beginning[invitation.talk] = beginning
            beginning.add_done_callback(lambda _: self._beginning.pop(invitation.talk))
        return await asyncio.shield(beginning)

    async def _begin(self, invitation: Invitation, hello: Hello) -> Talk:
        """The folder is made on a thread: disks take milliseconds, and other talks have packets to be read."""
        arm = self._arms[invitation.arm]
        seed = int.from_bytes(hashlib.sha256(invitation.talk.encode()).digest()[:4], "big")
        info = arm.stepper.info
        record = LiveTalk(
            invitation.talk, info.name, info.version, seed, datetime.now(UTC).isoformat(timespec="seconds"),
            hello.rate, info.sample_rate, info.frame, hello.settings,
        )  # fmt: skip
        folder = await asyncio.to_thread(TalkFolder, self.root / invitation.talk, record)
        talk = Talk(folder, arm.stepper, invitation.rules, hello.packet, lambda: self._settle(invitation))
        arm.stepper.sit(talk.seat, seed)
        self._talks[invitation.talk] = talk
        return talk

    def lost(self, talk: Talk) -> None:
        """A talk's socket broke: it is void if the page does not come back in time."""
        connection = talk.connection

        def check() -> None:
            if talk.line is None and talk.connection == connection:
                talk.end("voided", "the connection was lost")

        self._loop.call_later(talk.rules.away, check)

    def _settle(self, invitation: Invitation) -> None:
        """A talk has ended: free its place, close its folder on another thread."""
        talk = self._talks.pop(invitation.talk)
        assert talk.ended is not None
        self._invited.pop(invitation.talk, None)
        self._endings[invitation.talk] = talk.ended
        self.leave(invitation)
        log.info("talk %s: %s, %s", invitation.talk, talk.ended.outcome, talk.ended.whole)
        self._hand_on(invitation.talk, self._finish, talk, invitation.talk)

    def _hand_on(self, talk_id: str, work: Callable[..., None], *what: object) -> None:
        """Do what comes after a talk's end on another thread."""
        task = asyncio.ensure_future(asyncio.to_thread(work, *what))
        self._closing[talk_id] = task
        task.add_done_callback(lambda _: self._closing.pop(talk_id))

    def _finish(self, talk: Talk, talk_id: str) -> None:
        """Close a talk's folder; if that fails (a full disk), again until it works or the server ends."""
        try:
            talk.finish()
        except (StoreError, OSError) as error:
            log.error("talk %s could not be closed, and is tried again: %s", talk_id, error)
            again = partial(self._hand_on, talk_id, self._finish, talk, talk_id)
            self._loop.call_soon_threadsafe(self._loop.call_later, AGAIN, again)
            return
        self._announce(talk_id)
        self._loop.call_soon_threadsafe(self._endings.pop, talk_id, None)

    def _announce(self, talk_id: str) -> None:
        with self._one_by_one:
            try:
                self._on_closed(self.root / talk_id)
            except Exception:  # the caller's fault is no fault of the next talk
                log.exception("what should follow talk %s failed", talk_id)

    # --- for the steppers ---

    def _deliver(self, done: Sequence[Done]) -> None:
        self._loop.call_soon_threadsafe(self._take, done)

    def _take(self, done: Sequence[Done]) -> None:
        for one in done:
            one.seat.take(one)

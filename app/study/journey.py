"""Where a rater is: a pure function of the study, the plan and what was done so far.

No page number is stored anywhere. The next step follows from facts that are in the database, so a reload, a second tab,
a killed server and a form that was sent twice all end at the same place, and nothing can be skipped or done twice.
Nothing here knows HTTP or tables.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from app.study.assignment import Plan
from app.study.config import Study

PRACTICE = -1  # slot of the practice talk
TRIES = 2  # at the comprehension check

Kind = Literal[
    "consent", "devices", "comprehension", "practice", "talk", "rate", "review", "compare", "guess", "finish", "out"
]  # fmt: skip
FORMS = ("rate", "review", "compare", "guess")
Why = Literal["", "declined", "comprehension", "technical"]


class Attempt(NamedTuple):
    """A talk that was begun: open, done or voided."""

    talk: str
    slot: int
    status: str
    reason: str | None = None


class Progress(NamedTuple):
    """What a rater has done."""

    consent: bool | None = None  # None: not asked yet
    devices: bool = False  # checked, and good enough or gone on with knowingly
    tries: tuple[bool, ...] = ()  # at the comprehension check
    attempts: tuple[Attempt, ...] = ()  # in order
    forms: frozenset[str] = frozenset()  # that have arrived

    def done(self, slot: int) -> Attempt | None:
        """The talk that counts for a slot."""
        return next((a for a in self.attempts if a.slot == slot and a.status == "done"), None)

    def voided(self, slot: int) -> list[Attempt]:
        return [a for a in self.attempts if a.slot == slot and a.status == "voided"]


class Step(NamedTuple):
    """What comes next."""

    kind: Kind
    slot: int | None = None
    talks: tuple[str, ...] = ()  # that a form is about
    why: Why = ""  # for `out`

    @property
    def form(self) -> str | None:
        """The form that ends this step; None if something else does."""
        return "-".join([self.kind, *self.talks]) if self.kind in FORMS else None


def next_step(study: Study, plan: Plan, progress: Progress) -> Step:
    """The first thing that is still to be done."""
    return next(step for step in _steps(study, plan, progress) if step.form is None or step.form not in progress.forms)


def _steps(study: Study, plan: Plan, progress: Progress) -> Iterator[Step]:
    """What is still to be done, and every form, in order. Who reviews finished talks holds none: all are done."""
    talks = plan.role == "talker"
    if progress.consent is not True:
        yield Step("out", why="declined") if progress.consent is False else Step("consent")
    if talks and not progress.devices:
        yield Step("devices")
    if study.checks_for(plan.role) and not any(progress.tries):
        yield Step("comprehension") if len(progress.tries) < TRIES else Step("out", why="comprehension")
    if talks and study.practice is not None and progress.done(PRACTICE) is None:
        yield _talk("practice", PRACTICE, study, progress)
    for slot in range(len(plan.slots)):
        done = progress.done(slot)
        if done is None:
            yield _talk("talk", slot, study, progress)
            return
        yield Step("rate" if talks else "review", slot, (done.talk,))
        if (pair := pair_of(plan, progress, slot)) is not None:
            yield Step("compare", slot, pair)
    if talks and study.blinding is not None and (last := guessed_about(study, plan, progress)):
        yield Step("guess", None, last)
    yield Step("finish")


def _talk(kind: Literal["practice", "talk"], slot: int, study: Study, progress: Progress) -> Step:
    if len(progress.voided(slot)) > study.redo:
        return Step("out", slot, why="technical")
    return Step(kind, slot)


def pair_of(plan: Plan, progress: Progress, slot: int) -> tuple[str, ...] | None:
    """The two talks to be compared once a slot is rated; None if it ends no pair."""
    pair = plan.pair(slot)
    talks = [progress.done(one) for one in pair] if pair is not None else []
    return tuple(talk.talk for talk in talks if talk is not None) or None


def guessed_about(study: Study, plan: Plan, progress: Progress) -> tuple[str, ...]:
    """The last pair, or the last talk where there are no pairs."""
    last = max(i for i, slot in enumerate(plan.slots) if slot.kind == "talk")
    done = progress.done(last)
    return pair_of(plan, progress, last) or (() if done is None else (done.talk,))


def position(plan: Plan, progress: Progress, step: Step) -> tuple[int, int]:
    """Talk number and number of talks, for the rater's eyes."""
    if plan.role == "second":
        held = sum(form.startswith("review-") for form in progress.forms)
    else:
        held = sum(progress.done(slot) is not None for slot in range(len(plan.slots)))
    return (min(held + (step.kind in ("talk", "review")), len(plan.slots)), len(plan.slots))

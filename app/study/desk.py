"""What a rater's page may ask of a study, one transaction each: who comes in, where somebody is, what they send.

Each of these checks that what was sent belongs to the rater's next step, which is the only thing that may be done. A
form that is there already is no error: the page is behind, and goes on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from sqlalchemy.orm import Session

from app.study import answers, raters, talks
from app.study.access import OPEN, PREVIEW, Keys, Link, is_form_key
from app.study.answers import Form
from app.study.config import Mode, Study
from app.study.database import Database
from app.study.journey import FORMS, TRIES, Step, next_step
from app.study.raters import NotInvited, Panel
from app.study.second import reviews
from app.study.second.replay import keep_review, replay, sound_of
from app.study.tables import RaterRow
from app.study.views import Where, questions_of, show
from protocols.errors import InputError

DEVICE_TRIES = 2  # poor checks after which a rater may go on all the same
LONGEST = 60.0 * 60 * 24  # seconds on a form that are believed


class Gone(InputError):
    """A rater whom the database no longer knows."""


class Behind(InputError):
    """A page that sends what is not the rater's next step."""


class Desk:
    def __init__(self, study: Study, db: Database, keys: Keys, root: Path) -> None:
        """`root`: the folder of the talks."""
        self.study, self.db, self._keys, self._root = study, db, keys, root

    # --- coming in ---

    def welcome(self, link: str, parameters: Mapping[str, str], known: str | None) -> str | None:
        """The page of consent for a link; None if this browser is in already. Nobody is stored by looking."""
        panel = self._panel(parameters)
        entry = self._entry(link) if link or panel is None else Link(OPEN)
        panel = panel if entry.invitation == OPEN else None
        if panel is not None and panel.session == "":
            return show("message", self.study, heading=self.study.title, text="This is a preview. Accept the task, "
                        "then open it again to take part.")  # fmt: skip
        if known is not None and entry.invitation != PREVIEW and self._is_same(known, panel, entry):
            return None
        sent = {"link": link, "panel": panel._asdict() if panel else None}
        return show("consent", self.study, form="consent", sent=sent, rater="", role=entry.role)

    def is_second(self, link: str) -> bool:
        """Whether a link is for those who rate finished talks: they need no microphone."""
        try:
            return self._keys.read_link(link).role == "second"
        except InputError:
            return False

    def _entry(self, link: str) -> Link:
        entry = self._keys.read_link(link)
        if entry.invitation == OPEN and not self.study.open:
            raise NotInvited("this study is open to people with a personal invitation only")
        return entry

    def _is_same(self, known: str, panel: Panel | None, entry: Link) -> bool:
        """Whether a browser is in already as whom a link means. NotInvited for a talker at the others' open link."""
        with self.db.read() as session:
            rater = session.get(RaterRow, known)
            if rater is None or rater.status == "forgotten":
                return False
            if panel is not None:
                return (rater.source, rater.external_id) == (panel.source, panel.person)
            if entry.invitation != OPEN:
                return raters.owner_of(session, entry.invitation) == known
            if rater.role != entry.role:
                raise NotInvited("this browser has taken part in the study in another way already; for another person, "
                                 "please ask for a personal link")  # fmt: skip
            return True

    def _panel(self, said: Mapping[str, str]) -> Panel | None:
        """Who a panel says has come; a session of "" is a look before accepting."""
        if person := said.get("PROLIFIC_PID"):
            return Panel("prolific", _short(person), _short(said.get("SESSION_ID", "") or "none"))
        if "assignmentId" in said:
            accepted = said["assignmentId"] != "ASSIGNMENT_ID_NOT_AVAILABLE" and said.get("workerId")
            return Panel(
                "mturk", _short(said.get("workerId", "") or "nobody"), _short(said["assignmentId"]) if accepted else ""
            )
        return None

    def consent(self, said: Mapping[str, Any], known: str | None) -> str | None:
        """The rater who consents, stored from now on; None for who declines, of whom nothing is stored."""
        given = said.get("given") is True
        if not given and known is None:
            return None
        with self.db.write() as session:
            rater = raters.rater_of(session, known) if said.get("again") and known else self._enter(session, said)
            raters.note(session, rater, "consent", given=given, words=self.study.digest)
            if not given:
                raters.leave(session, rater, "declined")
            raters.touch(session, rater)
            return rater.id

    def _enter(self, session: Session, said: Mapping[str, Any]) -> RaterRow:
        rater = self._entered(session, said)
        if rater.role == "second" and not rater.reviews:
            reviews.give(session, self.study, rater, self._root)
            session.refresh(rater, ["reviews"])
        return rater

    def _entered(self, session: Session, said: Mapping[str, Any]) -> RaterRow:
        panel, link = said.get("panel"), str(said.get("link", ""))
        if isinstance(panel, dict) and panel.get("source") in ("prolific", "mturk") and panel.get("session"):
            who = Panel(panel["source"], _short(str(panel.get("person"))), _short(str(panel["session"])))
            return raters.join(session, self.study, who.source, who, self._entry(link).role if link else "talker")
        entry = self._entry(link)
        if entry.invitation in (OPEN, PREVIEW):
            source: raters.Source = "link" if entry.invitation == OPEN else "preview"
            return raters.join(session, self.study, source, role=entry.role)
        return raters.accept(session, self.study, entry.invitation, entry.role)

    # --- on the way ---

    def where(self, rater_id: str, going: bool = False) -> Where:
        """Where a rater is; who has reached an end is marked so. Gone for nobody."""
        with self.db.write() as session:
            rater = session.get(RaterRow, rater_id)
            if rater is None or rater.status == "forgotten":
                raise Gone("Nothing is stored about you any more. To take part again, open your link.")
            raters.touch(session, rater)
            where = self._where(session, rater)
            if where.step.kind == "finish":
                raters.leave(session, rater, "complete")
            elif where.step.why == "technical":
                raters.leave(session, rater, "technical")
            elif where.step.why == "comprehension":
                raters.leave(session, rater, "failed")
            where = where._replace(code=rater.code, going=going)
            mode = _mode(rater, where.step)
        return where if mode is None else where._replace(replay=replay(self._root / where.step.talks[0], mode))

    def sound(self, rater_id: str, slot: int) -> Path:
        """The recording that a rater of the second stage is to hear now. InputError for every other."""
        with self.db.read() as session:
            rater = raters.rater_of(session, rater_id)
            step = self._where(session, rater).step
            if step.slot != slot or _mode(rater, step) != "sound":
                raise InputError("there is nothing to be heard here now")
        return sound_of(self._root / step.talks[0])

    def _where(self, session: Session, rater: RaterRow) -> Where:
        plan, progress = raters.plan_for(self.study, rater), raters.progress_of(session, rater)
        return Where(self.study, plan, progress, next_step(self.study, plan, progress), rater.id)

    def take(self, rater_id: str, kind: str, said: Mapping[str, Any]) -> str | None:
        """Store what a page sends; the talk to be ended if it reports a problem. Behind if it is not its turn."""
        with self.db.write() as session:
            rater = raters.rater_of(session, rater_id)
            raters.touch(session, rater)
            where = self._where(session, rater)
            if kind == "problem":
                return self._problem(session, rater, where.step, said)
            if kind in FORMS:
                self._form(session, rater, where, said)
            elif kind != where.step.kind:
                raise Behind("this page is behind; please load it anew")
            elif kind == "devices":
                self._devices(session, rater, said)
            elif kind == "comprehension":
                right = [str(check.right) for check in self.study.checks_for(where.plan.role)]
                given = [str(said.get("answers", {}).get(f"check{k}", "")) for k in range(len(right))]
                if "" in given:
                    raise answers.Incomplete([f"check{k}" for k, one in enumerate(given) if one == ""])
                raters.note(session, rater, "comprehension", right=given == right, given=given, of=TRIES)
            else:
                raise Behind("nothing is expected here")
            return None

    def _devices(self, session: Session, rater: RaterRow, said: Mapping[str, Any]) -> None:
        """A check that was good, or a poor one after which the rater goes on knowingly, after two."""
        numbers = ("level_db", "ears", "trials", "echo_db", "echo_delay", "rate")
        result = {name: said[name] for name in numbers if isinstance(said.get(name), int | float)}
        good = said.get("quiet") is True and said.get("ears") == said.get("trials")
        poor = sum(fact.kind == "devices" and not fact.data["good"] for fact in rater.facts)
        anyway = said.get("anyway") is True and poor >= DEVICE_TRIES
        raters.note(session, rater, "devices", **result, good=good, enough=good or anyway)

    def _problem(self, session: Session, rater: RaterRow, step: Step, said: Mapping[str, Any]) -> str | None:
        """A talk that its rater says may not count: the one in progress, or the one to be rated."""
        words = str(said.get("comment", ""))[: answers.LONGEST]
        open_talks = [talk.id for talk in rater.talks if talk.status == "open"]
        found = [*open_talks, *(step.talks if step.kind == "rate" else ())]
        if not found:
            raise Behind("there is no talk to be held again")
        raters.note(session, rater, "problem", talk=found[0], words=words)
        talks.void(session, found[0], "the rater reported a technical problem")
        return found[0]

    def _form(self, session: Session, rater: RaterRow, where: Where, said: Mapping[str, Any]) -> None:
        name, step = str(said.get("form", "")), where.step
        if name in where.progress.forms:
            return  # stored before: its answer got lost, or another tab was first
        if name != step.form:
            raise Behind("this page is behind; please load it anew")
        if not is_form_key(said.get("key")):
            raise InputError("a form without a key")
        seconds = said.get("seconds")
        known = isinstance(seconds, int | float) and 0 <= seconds <= LONGEST
        form = Form(name, str(said["key"]), float(seconds) if known and seconds is not None else None,
                    str(said.get("comment") or "")[: answers.LONGEST])  # fmt: skip
        given = said.get("answers")
        data = {str(k): str(v) for k, v in given.items()} if isinstance(given, dict) else {}
        found, mode = self._read(where, said, data), _mode(rater, step)
        if mode is not None:
            keep_review(session, rater, self._root / step.talks[0], mode, data, self.study.moments)
        answers.submit(session, rater, form, step.talks, found, mode or "talker")

    def _read(self, where: Where, said: Mapping[str, Any], data: Mapping[str, str]) -> list[answers.Answer]:
        if where.step.kind in ("rate", "review"):
            return answers.read_levels(questions_of(where), data)
        if where.step.kind == "compare":
            chosen = said.get("choices")
            return answers.read_preference(
                self.study, data, [str(c) for c in chosen] if isinstance(chosen, list) else []
            )
        return answers.read_guess(data)


def _mode(rater: RaterRow, step: Step) -> Mode | None:
    """How a rater meets the talk that is to be reviewed now; None if none is."""
    if step.kind != "review":
        return None
    return next(cast(Mode, one.mode) for one in rater.reviews if one.talk_id == step.talks[0])


def _short(text: str) -> str:
    if not 0 < len(text) <= 64 or not text.isprintable():
        raise NotInvited("this link names nobody; please open it from where you found it")
    return text

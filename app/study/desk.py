"""What a rater's page may ask of a study, one transaction each: who comes in, where somebody is, what they send.

Each of these checks that what was sent belongs to the rater's next step, which is the only thing that may be done. A
form that is there already is no error: the page is behind, and goes on.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.study import answers, raters, talks
from app.study.access import OPEN, PREVIEW, Keys, is_form_key
from app.study.answers import Form
from app.study.config import Study
from app.study.database import Database
from app.study.journey import TRIES, Step, next_step
from app.study.raters import NotInvited, Panel
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
    def __init__(self, study: Study, db: Database, keys: Keys) -> None:
        self.study, self.db, self._keys = study, db, keys

    # --- coming in ---

    def welcome(self, link: str, parameters: Mapping[str, str], known: str | None) -> str | None:
        """The page of consent for a link; None if this browser is in already. Nobody is stored by looking."""
        panel = self._panel(parameters) if not link else None
        invitation = self._invitation(link) if panel is None else None
        if panel is not None and panel.session == "":
            return show("message", self.study, heading=self.study.title, text="This is a preview. Accept the task, "
                        "then open it again to take part.")  # fmt: skip
        if known is not None and invitation != PREVIEW and self._is_same(known, panel, invitation):
            return None
        sent = {"link": link, "panel": panel._asdict() if panel else None}
        return show("consent", self.study, form="consent", sent=sent, rater="")

    def _invitation(self, link: str) -> str:
        said = self._keys.read_link(link)
        if said == OPEN and not self.study.open:
            raise NotInvited("this study is open to people with a personal invitation only")
        return said

    def _is_same(self, known: str, panel: Panel | None, invitation: str | None) -> bool:
        with self.db.read() as session:
            rater = session.get(RaterRow, known)
            if rater is None:
                return False
            if panel is not None:
                return (rater.source, rater.external_id) == (panel.source, panel.person)
            return invitation == OPEN or raters.owner_of(session, invitation) == known

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
        panel = said.get("panel")
        if isinstance(panel, dict) and panel.get("source") in ("prolific", "mturk") and panel.get("session"):
            who = Panel(panel["source"], _short(str(panel.get("person"))), _short(str(panel["session"])))
            return raters.join(session, self.study, who.source, who)
        invitation = self._invitation(str(said.get("link", "")))
        if invitation in (OPEN, PREVIEW):
            return raters.join(session, self.study, "link" if invitation == OPEN else "preview")
        return raters.accept(session, self.study, invitation)

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
            return where._replace(code=rater.code, going=going)

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
            if kind in ("rate", "compare", "guess"):
                self._form(session, rater, where, said)
            elif kind != where.step.kind:
                raise Behind("this page is behind; please load it anew")
            elif kind == "devices":
                self._devices(session, rater, said)
            elif kind == "comprehension":
                right = [str(check.right) for check in self.study.comprehension]
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
        answers.submit(session, rater, form, step.talks, self._read(where, said))

    def _read(self, where: Where, said: Mapping[str, Any]) -> list[answers.Answer]:
        given = said.get("answers")
        data = {str(k): str(v) for k, v in given.items()} if isinstance(given, dict) else {}
        if where.step.kind == "rate":
            return answers.read_levels(questions_of(where), data)
        if where.step.kind == "compare":
            chosen = said.get("choices")
            return answers.read_preference(
                self.study, data, [str(c) for c in chosen] if isinstance(chosen, list) else []
            )
        return answers.read_guess(data)


def _short(text: str) -> str:
    if not 0 < len(text) <= 64 or not text.isprintable():
        raise NotInvited("this link names nobody; please open it from where you found it")
    return text

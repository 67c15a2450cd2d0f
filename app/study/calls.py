"""Between a study and the live calls: which talk a rater's page may open, and what becomes of it when it is over.

A talk is settled from its folder, by whoever comes first: the server of calls when it has closed the folder, a page
that waits for it, or the next start of the server. So a crash between the end of a talk and its row loses nothing. The
speech in it is measured here, once, because the rules of quality need it.
"""

import asyncio
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from app.live.away import here
from app.live.events import Missed, read_events
from app.live.folder import LiveTalk, read_talk
from app.live.page import MOMENTS, Moment, call_settings
from app.live.server import Live
from app.live.talk import Rules
from app.study import raters, talks
from app.study.config import Study
from app.study.database import Busy, Database
from app.study.journey import next_step
from app.study.tables import TalkRow
from protocols.audio import read_sound
from protocols.errors import InputError, unknown_name

log = logging.getLogger("duologue.study")

PRACTICE_ARM = "practice"
LATE = "-late"  # behind the code of an arm: the trap
PATIENCE = 8.0  # seconds a page waits for its talk to be closed


class Calls:
    def __init__(self, study: Study, db: Database, live: Live) -> None:
        self.study, self.db, self.live = study, db, live
        self._settling = threading.Lock()  # the speech of a talk is measured once
        self.moments = moments(study)

    async def open(self, rater_id: str) -> dict[str, object]:
        """What the page needs to hold the talk that is the rater's next step. InputError if that is no talk."""
        going = {running.talk for running in self.live.running()}
        found = await asyncio.to_thread(self._open, rater_id, going)
        rules = Rules(
            lag=self.study.most_lag, limit=found.duration, kinds=tuple(moment.kind for moment in self.moments)
        )
        arm = PRACTICE_ARM if found.arm is None else found.arm + (LATE if found.kind == "trap" else "")
        token = self.live.invite(arm, rules, found.id)
        return call_settings(token, self.moments, self.study.processing)

    def _open(self, rater_id: str, going: set[str]) -> TalkRow:
        with self.db.write() as session:
            rater = raters.rater_of(session, rater_id)
            plan = raters.plan_for(self.study, rater)
            progress = raters.progress_of(session, rater)
            step = next_step(self.study, plan, progress)
            status = raters.study_row(session, self.study.name).status
            if status != "open" and not going & {attempt.talk for attempt in progress.attempts}:
                raise InputError(f"the study is {status}: no new talk begins; what you have done is stored")
            if step.kind not in ("talk", "practice") or step.slot is None:
                raise InputError("your next step is no talk; please load the page anew")
            raters.touch(session, rater)
            return talks.open_talk(session, self.study, rater, plan, step.slot)

    async def going(self, rater_id: str) -> bool:
        """Whether a talk of a rater's is in progress; one that has ended is settled first, so that the next step is
        known."""
        row = await asyncio.to_thread(self._open_row, rater_id)
        if row is None:
            return False
        begun = any(running.talk == row for running in self.live.running())
        if not begun and self.live.ended(row) is not None:
            await self._settled(row)
        return begun

    def _open_row(self, rater_id: str) -> str | None:
        with self.db.read() as session:
            attempts = raters.progress_of(session, raters.rater_of(session, rater_id)).attempts
        return next((attempt.talk for attempt in attempts if attempt.status == "open"), None)

    async def _settled(self, talk_id: str) -> None:
        """Wait until a talk's folder is closed, and settle it."""
        for _ in range(round(PATIENCE / 0.05)):
            if await asyncio.to_thread(self.settle, self.live.root / talk_id):
                return
            await asyncio.sleep(0.05)

    def settle(self, folder: Path) -> bool:
        """Keep how the talk of a folder ended; False while it is not closed. Busy if the database is."""
        with self._settling:
            talk = read_talk(folder)
            if talk.status == "live":
                return False
            with self.db.read() as session:
                row = session.get(TalkRow, talk.id)
                if row is None or (row.status != "open" and row.measured is not None):
                    return True
            outcome = talks.Outcome(
                talk.status == "done",
                talk.reason or "the talk was over",
                measured(folder, talk),
                [talks.Moment(mark.kind, mark.sample, mark.sample / talk.rate) for mark in talk.marks],
            )
            with self.db.write() as session:
                talks.settle(session, self.study, talk.id, outcome)
            return True

    def on_closed(self, folder: Path) -> None:
        """For `Live`: a database that is busy now is asked again when the rater's page comes back."""
        try:
            self.settle(folder)
        except Busy as error:
            log.warning("talk %s is settled later: %s", folder.name, error)

    def catch_up(self) -> None:
        """Settle what ended while nobody was looking; at the start of the server."""
        with self.db.read() as session:
            open_rows = talks.unsettled(session, self.study)
        for talk in open_rows:
            if self.live.ended(talk) is not None:
                self.settle(self.live.root / talk)


def moments(study: Study) -> tuple[Moment, ...]:
    """The buttons of a study, keys counted from 1. InputError for one there is not."""
    known: Mapping[str, Moment] = {moment.kind: moment for moment in MOMENTS}
    for kind in study.moments:
        if kind not in known:
            raise unknown_name("moment", kind, known)
    return tuple(known[kind]._replace(key=str(k)) for k, kind in enumerate(study.moments, 1))


def _missed(folder: Path, rate: int) -> dict[str, Any]:
    """How often the page had nothing to play, and for how many seconds in all."""
    path = folder / "events.jsonl"
    missed = [one.n for one in read_events(path.read_bytes()) if isinstance(one, Missed)] if path.exists() else []
    return {"underruns": len(missed), "underrun_s": sum(missed) / rate}


class _Sound(NamedTuple):
    seconds: float
    speech: float | None
    no_speech: str | None


def measured(folder: Path, talk: LiveTalk) -> dict[str, Any]:
    """What the rules of quality look at; seconds and dB. None stands for what could not be measured."""
    sound = _sound(folder, talk)
    pacing = talk.pacing
    return {
        **sound._asdict(),
        "lag_p50": talk.lag_p50,
        "lag_max": talk.lag_max,
        "echo_db": talk.echo_db,
        "echo_delay": talk.echo_delay,
        "no_echo": talk.no_echo,
        "frame": talk.frame,
        **_missed(folder, talk.rate),
        "late_ms_p99": pacing.late_p99_ms if pacing else None,
        "step_ms_p50": pacing.step_p50_ms if pacing else None,
        "rate": talk.rate,
        "settings": talk.settings,
    }


def _sound(folder: Path, talk: LiveTalk) -> _Sound:
    """Length of the recording as heard, and seconds of the rater's own speech in it."""
    if talk.heard is None:
        return _Sound(0.0, None, "nothing was recorded")
    from eval.activity import SileroActivity

    sound = read_sound(here(folder / talk.heard.path))
    spans = SileroActivity().spans(sound.samples[1], sound.sample_rate)
    return _Sound(talk.heard.duration, sum(span.duration for span in spans), None)

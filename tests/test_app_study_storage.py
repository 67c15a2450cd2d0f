"""Raters, talks and answers in the database, and where a rater is."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sqlalchemy", reason="sqlalchemy is missing; get it with: pip install -e '.[live]'")
pytest.importorskip("alembic", reason="alembic is missing; get it with: pip install -e '.[live]'")

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, select, text
from sqlalchemy.exc import IntegrityError

from app.study import answers, database, raters, talks
from app.study.answers import Answer, Form
from app.study.assignment import plan_of
from app.study.begin import begin, study_of
from app.study.database import Busy, Database, open_database, sqlite_url
from app.study.journey import PRACTICE, Attempt, Progress, Step, next_step
from app.study.raters import NotInvited, Panel
from app.study.tables import Base, RaterRow, RatingRow, StudyRow, SubmissionRow, TalkRow
from protocols.errors import InputError
from study_house import database as database_of
from study_house import study

STUDY = study()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = database_of(tmp_path, STUDY)
    yield opened
    opened.close()


def hold(db: Database, rater: RaterRow, slot: int, seconds: float = 5.0) -> str:
    """A talk from its beginning to its end; its id."""
    with db.write() as session:
        row = talks.open_talk(session, STUDY, rater, raters.plan_for(STUDY, rater), slot)
        talks.settle(session, STUDY, row.id, talks.Outcome(True, "over", {"seconds": seconds}))
        return row.id


def joined(db: Database, n: int = 1) -> list[RaterRow]:
    found = []
    for _ in range(n):
        with db.write() as session:
            found.append(raters.join(session, STUDY, "link"))
    return found


# --- the database ---


def test_migrations_make_exactly_the_tables_of_the_code(db: Database) -> None:
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


def test_a_database_is_opened_again_as_it_was(tmp_path: Path, db: Database) -> None:
    joined(db, 2)
    again = open_database(sqlite_url(tmp_path))
    with again.read() as session:
        assert len(session.scalars(select(RaterRow)).all()) == 2
        assert study_of(session.scalars(select(StudyRow)).one()) == STUDY
    again.close()


def test_a_rating_cannot_be_changed_in_place(db: Database) -> None:
    (rater,) = joined(db)
    talk = hold(db, rater, 0)
    with db.write() as session:
        answers.submit(session, rater, Form("rate", "k"), [talk], [Answer("coherence", 3)])
    with pytest.raises(IntegrityError, match="never changed"), db.write() as session:
        session.execute(text("UPDATE ratings SET answer = 4"))
    with db.write() as session:
        old = session.scalars(select(RatingRow)).one()
        new = answers.amend(session, old, 2)
        assert (new.amends, new.answer, old.answer) == (old.id, 2, 3)
        with pytest.raises(InputError, match="amended before"):
            answers.amend(session, old, 1)


def test_a_locked_database_says_busy_and_stores_nothing(
    tmp_path: Path, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    (rater,) = joined(db)
    impatient = open_database(sqlite_url(tmp_path))
    holder = sqlite3.connect(tmp_path / database.FILE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy, match="locked"), impatient.write() as session:
        raters.note(session, rater, "consent", given=True)
    with impatient.read() as session:  # readers go on
        assert raters.progress_of(session, rater) == Progress()
    holder.execute("ROLLBACK")
    holder.close()
    with impatient.write() as session:
        raters.note(session, rater, "consent", given=True)
    impatient.close()


def test_a_full_disk_says_busy_and_what_was_stored_stays(tmp_path: Path, db: Database) -> None:
    (rater,) = joined(db)
    with closing(sqlite3.connect(tmp_path / database.FILE)) as other:
        pages = other.execute("PRAGMA page_count").fetchone()[0]
    event.listen(db.engine, "begin", lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(Busy, match="full"), db.write() as session:
        raters.note(session, rater, "problem", words="x" * 500_000)
    with db.read() as session:
        assert raters.progress_of(session, rater) == Progress()
        assert session.get_one(RaterRow, rater.id).cell == 0


def test_a_url_that_names_no_database_is_one_clear_error() -> None:
    with pytest.raises(InputError, match="is no database we can use") as told:
        open_database("oracel://me:secret@host/x")
    assert "secret" not in str(told.value)


# --- who holds which cell ---


def test_cells_are_given_in_order_and_an_abandoned_one_goes_to_the_next(db: Database) -> None:
    a, b, c = joined(db, 3)
    assert [rater.cell for rater in (a, b, c)] == [0, 1, 2]
    with db.write() as session:
        session.get_one(RaterRow, b.id).seen_at = "2020-01-01T00:00:00.000+00:00"
        raters.leave(session, session.get_one(RaterRow, c.id), "declined")
    d, e, f = joined(db, 3)
    assert [rater.cell for rater in (d, e, f)] == [1, 2, 3]


def test_who_comes_back_goes_on_with_the_old_plan_and_takes_the_cell_only_if_it_is_free(db: Database) -> None:
    a, b = joined(db, 2)
    with db.write() as session:
        for rater in (a, b):
            session.get_one(RaterRow, rater.id).seen_at = "2020-01-01T00:00:00.000+00:00"
    (c,) = joined(db)
    assert c.cell == 0
    with db.write() as session:
        back = [session.get_one(RaterRow, rater.id) for rater in (a, b)]
        for rater in back:
            raters.touch(session, rater)
        assert [(rater.cell, rater.holds) for rater in back] == [(0, False), (1, True)]


@pytest.fixture(scope="module")
def empty() -> Iterator[Database]:
    """One database for many examples; whoever uses it leaves it as it was."""
    opened = Database(database._engine("sqlite://"))
    database.migrate(opened.engine)
    yield opened
    opened.close()


ACTS = st.sampled_from(["join", "complete", "abandon", "decline", "return"])


@settings(max_examples=50)
@given(acts=st.lists(ACTS, max_size=25), data=st.data())
def test_however_raters_come_and_go_no_cell_is_held_twice_and_none_is_left_out(
    empty: Database, acts: list[str], data: st.DataObject
) -> None:
    with empty.write() as session:
        begin(session, STUDY)
        everyone: list[RaterRow] = []
        for act in acts:
            if act == "join" or not everyone:
                everyone.append(raters.join(session, STUDY, "link"))
                continue
            rater = data.draw(st.sampled_from(everyone))
            if act == "abandon":
                rater.seen_at = "2020-01-01T00:00:00.000+00:00"
            elif act == "return":
                raters.touch(session, rater)
            else:
                raters.leave(session, rater, "complete" if act == "complete" else "declined")
        last = raters.join(session, STUDY, "link")
        held = [rater.cell for rater in [*everyone, last] if rater.holds]
        covered = {r.cell for r in [*everyone, last] if r.holds or r.status == "complete"}
        session.rollback()
    assert len(held) == len(set(held))
    assert covered >= set(range(last.cell or 0))


def test_raters_who_join_at_once_get_different_cells(db: Database) -> None:
    threads = [threading.Thread(target=joined, args=(db,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as session:
        assert sorted(session.scalars(select(RaterRow.cell))) == list(range(8))


def test_a_panels_person_is_one_rater_and_another_session_is_refused(db: Database) -> None:
    with db.write() as session:
        a = raters.join(session, STUDY, "prolific", Panel("prolific", "p1", "s1"))
        assert raters.join(session, STUDY, "prolific", Panel("prolific", "p1", "s1")).id == a.id
        assert raters.join(session, STUDY, "mturk", Panel("mturk", "p1", "s1")).id != a.id
        with pytest.raises(NotInvited, match="another session"):
            raters.join(session, STUDY, "prolific", Panel("prolific", "p1", "s2"))


def test_a_personal_link_opens_one_rater(db: Database) -> None:
    with db.write() as session:
        invitation = raters.invite(session, STUDY, "Ada")
        assert raters.accept(session, STUDY, invitation).id == raters.accept(session, STUDY, invitation).id
        with pytest.raises(NotInvited, match="not one of ours"):
            raters.accept(session, STUDY, "0" * 32)


def test_a_paused_study_takes_nobody_in(db: Database) -> None:
    with db.write() as session:
        raters.study_row(session, STUDY.name).status = "paused"
        with pytest.raises(NotInvited, match="takes nobody in"):
            raters.join(session, STUDY, "link")


def test_a_study_with_raters_cannot_be_changed(db: Database) -> None:
    with db.write() as session:
        begin(session, study(title="Still nobody has come"))
        begin(session, STUDY)
    joined(db)
    with pytest.raises(InputError, match="scales changed"), db.write() as session:
        begin(session, study(scales=["acr5"]))


# --- talks ---


def test_a_slot_has_one_open_attempt_and_a_void_one_is_held_again(db: Database) -> None:
    (rater,) = joined(db)
    plan = plan_of(STUDY, 0)
    with db.write() as session:
        a = talks.open_talk(session, STUDY, rater, plan, 0)
        assert talks.open_talk(session, STUDY, rater, plan, 0).id == a.id
        talks.settle(session, STUDY, a.id, talks.Outcome(False, "the sound came too late"))
        b = talks.open_talk(session, STUDY, rater, plan, 0)
        assert (b.id != a.id, b.attempt, b.arm) == (True, 1, a.arm)
    assert hold(db, rater, 0) == b.id
    with pytest.raises(InputError, match="held already"):
        hold(db, rater, 0)


def test_a_talk_that_was_too_short_is_void_and_the_first_ending_counts(db: Database) -> None:
    (rater,) = joined(db)
    short = hold(db, rater, 0, seconds=0.2)
    with db.write() as session:
        talks.settle(session, STUDY, short, talks.Outcome(True, "over", {"seconds": 5.0}))
        row = session.get_one(TalkRow, short)
        assert (row.status, row.measured) == ("voided", {"seconds": 0.2})
        assert "needed to rate" in (row.reason or "")


def test_marks_that_arrive_after_the_ending_are_kept_once(db: Database) -> None:
    (rater,) = joined(db)
    mark = talks.Moment("nice", 24_000, 1.0)
    outcome = talks.Outcome(True, "over", {"seconds": 5.0}, [mark, mark])
    with db.write() as session:
        row = talks.open_talk(session, STUDY, rater, plan_of(STUDY, 0), 0)
        talks.settle(session, STUDY, row.id, talks.Outcome(True, "over"))
        talks.settle(session, STUDY, row.id, outcome)
        talks.settle(session, STUDY, row.id, outcome)
        session.expire(row)
        assert [(m.kind, m.sample) for m in row.marks] == [("nice", 24_000)]


# --- answers ---


def test_a_form_that_is_sent_twice_is_stored_once(db: Database) -> None:
    (rater,) = joined(db)
    talk = hold(db, rater, 0)
    for key, stored in (("k", True), ("k", False), ("other tab", False)):
        with db.write() as session:
            given = [Answer("coherence", 3), Answer("engagement", None, answers.CANNOT_JUDGE)]
            assert answers.submit(session, rater, Form("rate-x", key), [talk], given) is stored
    with db.read() as session:
        assert len(session.scalars(select(SubmissionRow)).all()) == 1
        assert {r.question: r.answer for r in session.scalars(select(RatingRow))} == {
            "coherence": 3,
            "engagement": None,
        }


def test_answers_are_read_strictly() -> None:
    questions = answers.asked(STUDY, "weekend")
    with pytest.raises(answers.Incomplete) as told:
        answers.read_levels(questions, {"coherence": "3"})
    assert told.value.missing == ("engagement", "relevance")
    with pytest.raises(InputError, match="no answer to coherence"):
        answers.read_levels(questions, {q.id: "9" for q in questions})
    with pytest.raises(InputError, match="no preference"):
        answers.read_preference(STUDY, {"preference": "4"}, [])


def test_the_safety_question_is_asked_only_where_it_fits() -> None:
    duplex = study(scales=["duplex"])
    assert "safety" not in [q.id for q in answers.asked(duplex, "weekend")]
    assert "safety" in [q.id for q in answers.asked(duplex, "pills")]


# --- the rater's way ---

READY = Progress(consent=True, devices=True, tries=(True,))


@pytest.mark.parametrize(
    ("progress", "step"),
    [
        (Progress(), Step("consent")),
        (Progress(consent=False), Step("out", why="declined")),
        (Progress(consent=True), Step("devices")),
        (Progress(consent=True, devices=True), Step("comprehension")),
        (Progress(consent=True, devices=True, tries=(False,)), Step("comprehension")),
        (Progress(consent=True, devices=True, tries=(False, False)), Step("out", why="comprehension")),
        (READY, Step("talk", 0)),
        (READY._replace(attempts=(Attempt("a", 0, "voided"),)), Step("talk", 0)),
        (READY._replace(attempts=(Attempt("a", 0, "done"),)), Step("rate", 0, ("a",))),
        (READY._replace(attempts=(Attempt("a", 0, "done"),), forms=frozenset({"rate-a"})), Step("talk", 1)),
    ],
)
def test_the_next_step_follows_from_what_was_done(progress: Progress, step: Step) -> None:
    assert next_step(STUDY, plan_of(STUDY, 0), progress) == step


def test_the_way_ends_with_a_pair_a_guess_and_thanks() -> None:
    attempts = (Attempt("a", 0, "done"), Attempt("b", 1, "done"))
    forms = ["rate-a", "rate-b", "compare-a-b", "guess-a-b"]
    seen = []
    for n in range(len(forms) + 1):
        step = next_step(STUDY, plan_of(STUDY, 0), READY._replace(attempts=attempts, forms=frozenset(forms[:n])))
        seen.append(step.kind)
        if n < len(forms):
            assert step.form == forms[n]
    assert seen == ["rate", "rate", "compare", "guess", "finish"]


def test_a_talk_that_fails_again_and_again_ends_the_way_without_blame() -> None:
    failed = tuple(Attempt(f"t{k}", 0, "voided") for k in range(STUDY.redo + 1))
    assert next_step(STUDY, plan_of(STUDY, 0), READY._replace(attempts=failed)) == Step("out", 0, (), "technical")


def test_practice_comes_before_the_first_talk_and_may_fail_too() -> None:
    practised = study(practice={})
    assert next_step(practised, plan_of(practised, 0), READY) == Step("practice", PRACTICE)
    done = READY._replace(attempts=(Attempt("p", PRACTICE, "done"),))
    assert next_step(practised, plan_of(practised, 0), done) == Step("talk", 0)


@given(st.lists(st.sampled_from(["done", "voided", "form", "reload"]), max_size=60), st.integers(0, 20))
def test_every_way_through_a_study_visits_its_steps_in_order(acts: list[str], cell: int) -> None:
    wide = study(rounds=3, trap={"arm": "base"})
    plan, progress = plan_of(wide, cell), READY
    order = [next_step(wide, plan, progress)]
    for act in acts:
        step = order[-1]
        if act == "form" and step.form is not None:
            progress = progress._replace(forms=progress.forms | {step.form})
        elif act in ("done", "voided") and step.kind == "talk" and step.slot is not None:
            attempt = Attempt(f"t{len(progress.attempts)}", step.slot, act)
            progress = progress._replace(attempts=(*progress.attempts, attempt))
        now = next_step(wide, plan, progress)
        if now != step:
            order.append(now)
    slots = [step.slot for step in order if step.slot is not None]
    assert slots == sorted(slots)
    assert len(order) == len(set(order))

"""The study's rules of quality as computed flags, from what is stored; nobody is judged by eye.

A rule passes, fails, or could not be checked, and the last is not a failure: a check that did not run says nothing
about a person. A rule about a talk costs that talk; a rule about a rater costs the rater. `pay` and `use` are two
things: somebody can be paid and not be analysed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple

from app.study.answers import INSTRUCTION, told
from app.study.config import Flag, Role, Rule, Study
from app.study.tables import FactRow, RatingRow, SubmissionRow, TalkRow

Outcome = Literal["pass", "fail", "unknown"]


class Finding(NamedTuple):
    """What one rule says of one rater, or of one of their talks."""

    rater: str
    talk: str | None
    rule: str
    outcome: Outcome
    why: str
    costs: tuple[Flag, ...]

    def loses(self, flag: Flag) -> bool:
        return self.outcome == "fail" and flag in self.costs


class Person(NamedTuple):
    """Everything stored about one rater's work, in order."""

    rater: str
    talks: Sequence[TalkRow]  # held and done, without practice; or of others, rated
    ratings: Sequence[RatingRow]  # that no other amends
    submissions: Sequence[SubmissionRow]
    facts: Sequence[FactRow]
    role: Role = "talker"


def findings(study: Study, person: Person) -> list[Finding]:
    """Every rule that applies, for the rater and for each talk."""
    talks = _of_talks if person.role == "talker" else _of_reviews
    return [*_of_rater(study, person), *talks(study, person)]


def _of_rater(study: Study, person: Person) -> Iterator[Finding]:
    rules, talks = study.quality, person.role == "talker"
    checks: list[tuple[str, Rule | None, Callable[[], tuple[Outcome, str]]]] = [
        ("trap", rules.trap if study.trap and talks else None, lambda: _trap(person)),
        ("instruction", rules.instruction if study.instruction else None, lambda: _instruction(study, person)),
        ("devices", rules.devices if talks else None, lambda: _devices(person)),
    ]
    if (lines := rules.straight_lining) is not None:
        checks.append(("straight_lining", lines, lambda: _straight(person, lines.limit)))
    if (fast := rules.too_fast) is not None:
        checks.append(("too_fast", fast, lambda: _too_fast(person, fast.limit)))
    for name, rule, check in checks:
        if rule is not None:
            yield Finding(person.rater, None, name, *check(), rule.costs)


def _of_talks(study: Study, person: Person) -> Iterator[Finding]:
    rules = study.quality
    for talk in person.talks:
        known = talk.measured or {}
        for name, rule, key, unit, too_much in (
            ("min_speech", rules.min_speech, "speech", "s of speech", False),
            ("lag", rules.lag, "lag_p50", "s of lag", True),
            ("echo", rules.echo, "echo_db", "dB of echo", True),
        ):
            if rule is not None and not (name == "min_speech" and talk.kind == "trap"):
                outcome, why = _limit(known, key, unit, rule.limit, too_much)
                yield Finding(person.rater, talk.id, name, outcome, why, rule.costs)


def _of_reviews(study: Study, person: Person) -> Iterator[Finding]:
    """How much of each talk was played; nothing of talks that were read."""
    rule = study.quality.played
    shares = {fact.data["talk"]: fact.data["share"] for fact in person.facts if fact.kind == "played"}
    for talk in person.talks:
        if rule is not None and talk.id in shares:
            outcome, why = _limit(shares, talk.id, "of the talk was played", rule.limit, too_much=False)
            yield Finding(person.rater, talk.id, "played", outcome, why, rule.costs)


def _limit(known: Mapping[str, Any], key: str, unit: str, limit: float, too_much: bool) -> tuple[Outcome, str]:
    value = known.get(key)
    if value is None:
        if key == "echo_db" and known.get("seconds"):
            return "pass", str(known.get("no_echo") or "no echo was found")
        return "unknown", "it was not measured"
    over = value > limit if too_much else value < limit
    return ("fail" if over else "pass"), f"{value:.2f} {unit}, limit {limit:g}"


def _trap(person: Person) -> tuple[Outcome, str]:
    """The late arm is rated below the mean of the rater's other talks."""
    trap = [talk.id for talk in person.talks if talk.kind == "trap"]
    caught = [r.answer for r in person.ratings if r.talk_id in trap and r.answer is not None and _is_scale(r)]
    others = [r.answer for r in person.ratings if r.talk_id not in trap and r.answer is not None and _is_scale(r)]
    if not caught or not others:
        return "unknown", "there are no ratings to compare"
    a, b = sum(caught) / len(caught), sum(others) / len(others)
    return ("pass" if a < b else "fail"), f"{a:.2f} for the late talk, {b:.2f} for the others"


def _instruction(study: Study, person: Person) -> tuple[Outcome, str]:
    given = [rating.answer for rating in person.ratings if rating.question == INSTRUCTION]
    if not given:
        return "unknown", "it was not reached"
    due = told(study.questions_for(person.role)[0].levels)
    return ("pass" if given[-1] == due else "fail"), f"{given[-1]} was chosen, {due} was asked for"


def _devices(person: Person) -> tuple[Outcome, str]:
    checks = [fact.data for fact in person.facts if fact.kind == "devices"]
    if not checks:
        return "unknown", "it was not reached"
    good = bool(checks[-1]["good"])
    return ("pass" if good else "fail"), f"{len(checks)} checks, the last one {'good' if good else 'poor'}"


def _straight(person: Person, limit: float) -> tuple[Outcome, str]:
    """So many forms in a row with one and the same answer to everything."""
    forms: dict[int, list[int]] = {}
    for rating in person.ratings:
        if rating.submission_id is not None and rating.answer is not None and _is_scale(rating):
            forms.setdefault(rating.submission_id, []).append(rating.answer)
    full = [answers for _, answers in sorted(forms.items()) if len(answers) > 1]
    if not full:
        return "unknown", "no form has two answers"
    same = [answers[0] if len(set(answers)) == 1 else None for answers in full]
    longest = max((len(list(run)) for value, run in groupby(same) if value is not None), default=0)
    return ("fail" if longest >= limit else "pass"), f"{longest} forms in a row, limit {limit:g}"


def _too_fast(person: Person, limit: float) -> tuple[Outcome, str]:
    times = sorted(
        form.seconds
        for form in person.submissions
        if form.seconds is not None and form.form.startswith(("rate-", "review-"))
    )
    if not times:
        return "unknown", "no form was timed"
    middle = times[len(times) // 2]
    return ("fail" if middle < limit else "pass"), f"median {middle:.1f} s a form, limit {limit:g}"


def _is_scale(rating: RatingRow) -> bool:
    return rating.other_id is None and rating.question not in (INSTRUCTION, "guess")

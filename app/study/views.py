"""What a rater sees at each step: a template and the words for it. No HTTP, no tables; nothing here knows an arm.

Templates escape everything they are given. `show` is the only place that renders.
"""

from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.live.page import MOMENTS
from app.study.answers import STRENGTHS, asked, instruction
from app.study.assignment import Plan
from app.study.config import Study
from app.study.journey import TRIES, Progress, Step, position
from app.study.scales import Question
from app.study.second.replay import Replay

STRENGTH_WORDS = (
    "The first was much better", "The first was better", "The first was slightly better", "No difference",
    "The second was slightly better", "The second was better", "The second was much better",
)  # fmt: skip
ONLOOKER = {"cut-off": "It cut the person off", "ignored": "It ignored the person"}  # marks by who was not in it
templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


templates.filters["clock"] = lambda seconds: f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Where(NamedTuple):
    """Everything a page may say about its rater."""

    study: Study
    plan: Plan
    progress: Progress
    step: Step
    rater: str = ""
    code: str | None = None
    going: bool = False  # the talk is in progress
    replay: Replay | None = None  # the talk to be reviewed


def show(template: str, study: Study, **words: Any) -> str:
    return templates.get_template(f"{template}.html.j2").render(title=study.title, study=study, **words)


def page(where: Where) -> str:
    """The page of a rater's next step."""
    kind = where.step.kind
    return show("talk" if kind == "practice" else kind, where.study, **_words(where))


def questions_of(where: Where) -> list[Question]:
    """What is asked after the talk of a slot; the instruction lies in the middle of one form."""
    slot = where.step.slot
    assert slot is not None
    found = asked(where.study, where.plan.slots[slot].scenario, where.plan.role)
    if slot == instructed(where.study, where.plan):
        found.insert((len(found) + 1) // 2, instruction(found))
    return found


def instructed(study: Study, plan: Plan) -> int | None:
    """The slot whose form has the instruction; None if no form has."""
    return len(plan.slots) // 2 if study.instruction and study.questions_for(plan.role) else None


def _words(where: Where) -> dict[str, Any]:
    step, study = where.step, where.study
    talk, talks = position(where.plan, where.progress, step)
    common = {"form": step.form or step.kind, "talk": talk, "talks": talks, "rater": where.rater,
              "role": where.plan.role}  # fmt: skip
    if step.kind in ("talk", "practice"):
        return {**common, **_talk(where)}
    if step.kind in ("rate", "review"):
        shown = _review(where) if step.kind == "review" else {}
        return {**common, **shown, "questions": questions_of(where)}
    if step.kind == "compare":
        return {**common, "strengths": list(zip(STRENGTHS, STRENGTH_WORDS, strict=True))}
    if step.kind == "guess":
        return {**common, "options": ("The first", "The second") if len(step.talks) == 2 else ("Yes", "No")}
    if step.kind == "comprehension":
        return {**common, "again": bool(where.progress.tries), "tries_left": TRIES - len(where.progress.tries),
                "checks": study.checks_for(where.plan.role)}  # fmt: skip
    return {**common, "why": step.why, "code": where.code, "back": back_url(study, where.code)}


def _talk(where: Where) -> dict[str, Any]:
    step, study = where.step, where.study
    assert step.slot is not None
    failed = where.progress.voided(step.slot)
    words: dict[str, Any] = {
        "practice": step.kind == "practice",
        "going": where.going,
        "again": (failed[-1].reason or "something went wrong") if failed else None,
    }
    if step.kind == "practice":
        assert study.practice is not None
        return {**words, "text": study.practice.text, "seconds": study.practice.seconds}
    return {**words, "text": scenario_of(where), "seconds": where.plan.slots[step.slot].duration}


def _review(where: Where) -> dict[str, Any]:
    assert where.replay is not None
    said = {moment.kind: ONLOOKER.get(moment.kind, moment.words) for moment in MOMENTS}
    return {
        "text": scenario_of(where), "slot": where.step.slot, "mode": where.replay.mode, "turns": where.replay.turns,
        "picture": Markup(where.replay.picture or ""), "moments": [(kind, said[kind]) for kind in where.study.moments],
    }  # fmt: skip


def scenario_of(where: Where) -> str:
    """What the talk of a step is about, as its talker reads it."""
    assert where.step.slot is not None
    slot = where.plan.slots[where.step.slot]
    return next(scenario.text for scenario in where.study.scenarios if scenario.id == slot.scenario)


def back_url(study: Study, code: str | None) -> str | None:
    """Where a panel wants its people back."""
    return f"{study.return_url}{code}" if study.return_url and code else None


def is_phone(agent: str) -> bool:
    """Whether a browser says it is a phone's or a tablet's."""
    return any(word in agent for word in ("Mobi", "Android", "iPhone", "iPad"))

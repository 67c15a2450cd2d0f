"""May the study stop? An e-value for the primary question, valid at every look, and no mean until the study is closed.

One number per rater who is through and counts, in the order in which they finished: how much more they liked an arm
than the first arm of the file. A preference is asked between the two; of a scale it is the difference of the rater's
means. Where each rater talks with one arm only, the numbers are of pairs: the k-th rater who finished with one arm
beside the k-th who finished with the other. If the arms do not differ and raters come independently, such a
difference has mean zero whatever came before, which is all that the e-value asks. With several arms each comparison
has its share of alpha (Bonferroni). While the study runs nobody learns which side is ahead: a researcher who knows it
talks to raters differently.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analysis.sequential import Monitor, monitor_mean
from app.study.answers import PREFERENCE, STRENGTHS
from app.study.config import Study
from app.study.people import Judged

ALPHA = 0.05  # where no preregistration says it


class Watch(NamedTuple):
    """One arm against the first, after the last rater."""

    arm: str
    against: str
    state: Monitor | None  # None: no rater yet
    level: float  # of p at which it is decided

    @property
    def decided(self) -> bool:
        return self.state is not None and self.state.p <= self.level

    @property
    def needed(self) -> float:
        """The e-value that decides."""
        return 1 / self.level


def primary(study: Study) -> str:
    """The question that decides: the preregistered one; else the preference, or the first scale."""
    if study.preregistration is not None:
        return study.preregistration.primary
    return PREFERENCE if study.design == "paired" else study.all_questions[0].id


def watch(study: Study, people: Sequence[Judged], arms: Mapping[str, str]) -> list[Watch]:
    """Every arm against the first; `arms`: codes -> names. Empty where there is one arm only."""
    first, *others = study.arms
    alpha = study.preregistration.alpha if study.preregistration else ALPHA
    through = sorted((one for one in people if one.has("use") and one.person.submissions), key=_finished)
    low, high = _range(study)
    found = []
    for arm in others:
        if study.design == "paired":
            values = [value for one in through if (value := liked(study, one, arms, arm, first)) is not None]
        else:
            values = [
                b - a for a, b in zip(*(means(study, through, arms, name) for name in (first, arm)), strict=False)
            ]
        state = monitor_mean(np.array(values), low, high, 0.0, 0.0)
        found.append(Watch(arm, first, state, alpha / len(others)))
    return found


def liked(study: Study, one: Judged, arms: Mapping[str, str], arm: str, first: str) -> float | None:
    """How much more a rater liked `arm` than `first`; None for who had not both."""
    question = primary(study)
    used = {talk.id: arms.get(talk.arm or "", "") for talk in one.person.talks
            if talk.kind == "talk" and one.uses(talk.id)}  # fmt: skip
    ratings = [r for r in one.person.ratings if r.question == question and r.answer is not None and r.talk_id in used]
    if question == PREFERENCE:
        pairs = [(used[r.talk_id], used.get(r.other_id or ""), float(r.answer or 0)) for r in ratings]
        votes = [value if second == arm else -value for a, second, value in pairs if {a, second} == {arm, first}]
        return float(np.mean(votes)) if votes else None
    given = {name: [float(r.answer or 0) for r in ratings if used[r.talk_id] == name] for name in (arm, first)}
    return float(np.mean(given[arm]) - np.mean(given[first])) if given[arm] and given[first] else None


def means(study: Study, people: Sequence[Judged], arms: Mapping[str, str], arm: str) -> list[float]:
    """The mean answer to the primary question of each who talked with an arm."""
    found = []
    for one in people:
        used = {talk.id for talk in one.person.talks
                if talk.kind == "talk" and one.uses(talk.id) and arms.get(talk.arm or "") == arm}  # fmt: skip
        given = [float(r.answer) for r in one.person.ratings
                 if r.question == primary(study) and r.answer is not None and r.talk_id in used]  # fmt: skip
        if given:
            found.append(float(np.mean(given)))
    return found


def _range(study: Study) -> tuple[float, float]:
    """The least and the largest that `liked` can be."""
    question = primary(study)
    if question == PREFERENCE:
        return float(min(STRENGTHS)), float(max(STRENGTHS))
    levels = next(one.levels for one in study.all_questions if one.id == question)
    span = float(max(levels) - min(levels))
    return -span, span


def _finished(one: Judged) -> str:
    return max(form.at for form in one.person.submissions)

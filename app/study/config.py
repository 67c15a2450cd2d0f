"""A study as one YAML file: what is compared, who rates how, what counts, and what was promised beforehand.

Everything a rater's session depends on is in the file, so its hash names the study; the preregistration has a hash of
its own that reports carry. Reading is strict and lives in `reading`. Which rater gets which talks is `assignment`'s.
"""

import hashlib
import json
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from app.study.scales import Name, Question, Strict, Words, observed, preset
from protocols.errors import InputError

Seconds = Annotated[float, Field(gt=0, le=3_600, strict=False)]
Design = Literal["paired", "between"]
Flag = Literal["pay", "use"]
Role = Literal["talker", "second"]  # who talks, and who rates finished talks of others
Mode = Literal["sound", "transcript"]  # how the latter meet them


class Arm(Strict):
    """A system of the study. Its name is for the researcher; raters never see it."""

    system: str
    decoding: dict[str, float] = {}


class Scenario(Strict):
    id: Name
    text: Words
    unsafe: bool = False  # touches a delicate subject; the safety question is asked


class Check(Strict):
    """A question with one right answer."""

    question: Words
    options: tuple[Words, ...] = Field(min_length=2, max_length=8, strict=False)
    right: int = Field(ge=1)  # counted from 1

    @model_validator(mode="after")
    def _there(self) -> Self:
        if self.right > len(self.options):
            raise ValueError(f"right is {self.right}, and there are {len(self.options)} options")
        return self


class Practice(Strict):
    """A talk that counts for nothing. No arm of the study should answer it."""

    system: str = "echo"
    seconds: Seconds = 20.0
    text: Words = "You will hear your own words come back a moment later. Say a few, and try the buttons."


class Trap(Strict):
    """A talk with an arm made late, once for every rater; it must be rated below the rater's other talks."""

    arm: str
    delay: Seconds = 1.5


class Blinding(Strict):
    """What raters guess at the end. `arm` is the one that the question means."""

    arm: str
    question: Words = "One of the two versions is newer. Which talk of your last pair was with the newer one?"


class Rule(Strict):
    """A rule of quality and which of the two flags a rater (or talk) loses who fails it."""

    costs: tuple[Flag, ...] = Field(default=("use",), strict=False)


class Limit(Rule):
    limit: float = Field(gt=0, strict=False)


class Echo(Rule):
    limit: float = Field(default=-30.0, le=0, strict=False)  # dB


class SecondStage(Strict):
    """People who rate finished talks. A talk is given out once it counts and its words are written down."""

    modes: tuple[Mode, ...] = Field(default=("sound",), min_length=1, max_length=2, strict=False)
    per_talk: int = Field(default=3, ge=1, le=100)  # raters in each mode
    per_rater: int = Field(default=8, ge=1, le=100)  # talks, all in one mode
    scales: tuple[str, ...] | None = Field(default=None, strict=False)  # None: the study's, as an onlooker reads them
    questions: tuple[Question, ...] = Field(default=(), strict=False)
    consent: Words
    welcome: str = ""
    comprehension: tuple[Check, ...] = Field(default=(), max_length=10, strict=False)


class Quality(Strict):
    """Rules; None: not applied. Units: seconds, except echo (dB) and straight_lining (forms)."""

    trap: Rule | None = Rule()
    instruction: Rule | None = Rule()
    devices: Rule | None = Rule(costs=())
    min_speech: Limit | None = Limit(limit=3.0)
    straight_lining: Limit | None = Limit(limit=4)  # forms in a row with one and the same answer throughout
    too_fast: Limit | None = Limit(limit=5.0)  # for a form
    lag: Limit | None = Limit(limit=0.5)  # median of a talk
    echo: Echo | None = Echo()
    played: Limit | None = Limit(limit=0.8)  # share of a talk that a rater of the second stage must have played


class Preregistration(Strict):
    """What was decided before anybody talked."""

    primary: Name  # the question that decides
    test: Words
    alpha: float = Field(default=0.05, gt=0, lt=1)
    raters: int = Field(ge=1)
    stopping: Words
    exclusions: Words
    hypothesis: str = ""


class Study(Strict):
    name: Name
    title: Words
    design: Design = "paired"
    seed: int = 0
    arms: dict[Name, Arm] = Field(min_length=1, max_length=8)
    decoding: dict[str, float] = {}
    decoding_differs: str = ""  # why arms may decode differently
    scenarios: tuple[Scenario, ...] = Field(min_length=1, max_length=100, strict=False)
    durations: tuple[Seconds, ...] = Field(default=(30.0, 90.0, 120.0), min_length=1, max_length=10, strict=False)
    rounds: int = Field(default=1, ge=1, le=50)  # pairs a rater holds (paired), or talks (between)
    least: float = Field(default=0.5, ge=0, le=1)  # share of the duration that a talk must have had to be rated
    most_lag: Seconds = 1.0  # a talk whose sound comes later than this is void
    redo: int = Field(default=3, ge=1, le=20)  # times a void talk is held again
    abandoned_after: Seconds = 2_700.0  # without a sign of life: somebody else gets the rater's place
    scales: tuple[str, ...] = Field(default=("paper",), strict=False)
    questions: tuple[Question, ...] = Field(default=(), strict=False)
    moments: tuple[str, ...] = Field(
        default=("cut-off", "too-slow", "ignored", "wrong", "unsafe", "nice"), strict=False
    )
    preference: Words = "Which of the two talks was better?"
    reasons: tuple[Words, ...] = Field(default=
        ("It answered faster", "It let me finish", "It dealt better with interruptions", "It said better things",
         "It sounded better", "It was nicer to talk with"), strict=False)  # fmt: skip
    consent: Words
    welcome: str = ""
    comprehension: tuple[Check, ...] = Field(default=(), max_length=10, strict=False)
    instruction: bool = True  # one rating form asks for a given answer
    practice: Practice | None = Practice()
    trap: Trap | None = None
    blinding: Blinding | None = None
    thanks: Words = "Your answers are stored."
    return_url: str = Field(default="", pattern=r"^(https://\S+)?$")  # a panel's page; the completion code is appended
    phones: bool = False
    processing: bool = True  # the browser's echo cancellation, noise suppression and gain control, for all arms
    open: bool = True  # whoever has the study's link may take part; otherwise only those with an invitation
    quality: Quality = Quality()
    second_stage: SecondStage | None = None
    preregistration: Preregistration | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        try:
            asked, shown = self.all_questions, self.questions_for("second")
        except InputError as error:
            raise ValueError(str(error)) from error
        for what, ids in (("question", [q.id for q in asked]), ("scenario", [s.id for s in self.scenarios]),
                          ("question of second_stage", [q.id for q in shown])):  # fmt: skip
            twice = [name for name, n in Counter(ids).items() if n > 1]
            if twice:
                raise ValueError(f"{what} {twice[0]!r} is there twice")
        for fault in (self._arms_fault(), self._plan_fault()):
            if fault:
                raise ValueError(fault)
        return self

    def _arms_fault(self) -> str:
        named = {"trap.arm": self.trap and self.trap.arm, "blinding.arm": self.blinding and self.blinding.arm}
        for where, arm in named.items():
            if arm is not None and arm not in self.arms:
                return f"{where} is {arm!r}, and the arms are {', '.join(self.arms)}"
        if any(arm.decoding for arm in self.arms.values()) and not self.decoding_differs:
            return "an arm has its own decoding, so a difference may be one of decoding; say why in decoding_differs"
        if self.design == "paired" and len(self.arms) < 2:
            return "a paired study needs two arms; design: between works with one"
        return ""

    def _plan_fault(self) -> str:
        if self.rounds > len(self.scenarios):
            return f"{self.rounds} rounds need as many scenarios, and there are {len(self.scenarios)}"
        if self.preregistration and self.preregistration.primary not in [
            *(q.id for q in self.all_questions), "preference",
        ]:  # fmt: skip
            return f"preregistration.primary {self.preregistration.primary!r} is no question of this study"
        return ""

    @property
    def all_questions(self) -> tuple[Question, ...]:
        """Those of the shipped sets, then the study's own."""
        return (*(q for name in self.scales for q in preset(name)), *self.questions)

    def questions_for(self, role: Role) -> tuple[Question, ...]:
        """What is asked of a talk: of who held it, or of who hears or reads it."""
        if role == "talker":
            return self.all_questions
        if self.second_stage is None:
            return ()
        names, own = self.second_stage.scales, self.second_stage.questions
        return (*(q for name in (map(observed, self.scales) if names is None else names) for q in preset(name)),
                *(self.questions if names is None and not own else own))  # fmt: skip

    def checks_for(self, role: Role) -> tuple[Check, ...]:
        """The comprehension check."""
        if role == "talker":
            return self.comprehension
        return self.second_stage.comprehension if self.second_stage else ()

    def decoding_of(self, arm: str) -> dict[str, float]:
        return {**self.decoding, **self.arms[arm].decoding}

    @property
    def digest(self) -> str:
        """SHA-256 of everything in the study, defaults included."""
        return _digest(self.model_dump(mode="json"))

    @property
    def preregistered(self) -> str | None:
        """SHA-256 of the preregistration; None if there is none."""
        return None if self.preregistration is None else _digest(self.preregistration.model_dump(mode="json"))


def _digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

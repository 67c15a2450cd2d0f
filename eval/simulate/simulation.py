"""Everything the talks of one simulation share, and the making of their samples and users.

The n-th talk takes the n-th scenario and the n-th voice, counting round, so a larger simulation begins with the smaller
one. A sample's events are what is planned (`eval.simulate.diary`); what really happened lies on the talk.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec

from eval.channel import User
from eval.hear_all import Instruments
from eval.judge.ask import Judge
from eval.judge.prompts import Prompt
from eval.runner import DriveOptions, talk_seed
from eval.simulate.diary import Diary
from eval.simulate.ears import EarKind, Ears, TextEars, TranscribingEars
from eval.simulate.manner import Manner, plan_turn
from eval.simulate.minds import Mind, ModelMind, ScriptMind
from eval.simulate.mouth import Mouth
from eval.simulate.scenario import Scenario, Scenarios
from eval.simulate.user import Person, SimulatedUser, Thought, at_once
from eval.tasks.suite import Suite
from protocols.contracts import Speaker
from protocols.duplex import SystemInfo
from protocols.errors import InputError
from protocols.records import Key, Sample, Task

TASK = "talk"
METRICS = (
    "timing.answered", "timing.latency", "timing.cut_in", "timing.pause_held", "timing.yielded", "timing.stop_latency",
    "timing.interruption_answered", "timing.kept_floor", "timing.floor_choice", "timing.overlap",
    "timing.talk_share_agent", "timing.talk_share_user", "timing.transfer_offset", "speech.wer",
)  # fmt: skip


class Model(NamedTuple):
    """A language model that plays the user."""

    judge: Judge
    prompt: Prompt
    turns: int  # at most, in a talk


class Cast(NamedTuple):
    """Who the users are and how they behave."""

    scenarios: Scenarios
    manner: Manner
    speaker: Speaker
    ears: EarKind
    talks: int
    longest: float  # seconds after which no more turns are begun
    model: Model | None = None  # None: what the scenarios have written


class Simulation:
    """Makes samples, and for each of them a user."""

    def __init__(self, cast: Cast, options: DriveOptions, instruments: Instruments) -> None:
        cast.manner.check()
        if cast.model is None and (mute := [s.id for s in cast.scenarios.scenarios if not s.turns]):
            raise InputError(f"{', '.join(mute)} of {cast.scenarios.name} have a goal and no turns; "
                             "give a language model (--user-url, --user-model)")  # fmt: skip
        self._cast, self._options, self._instruments = cast, options, instruments
        self._scenarios = {scenario.id: scenario for scenario in cast.scenarios.scenarios}
        self._voices: Sequence[str | None] = tuple(cast.speaker.voices) or (None,)
        self._pool = ThreadPoolExecutor(1) if options.clock == "real-time" else None
        self._samples = {sample.id: sample for sample in map(self._sample, range(cast.talks))}

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def check(self, info: SystemInfo) -> None:
        """InputError if these users could not understand that system."""
        if self._cast.ears == "text" and not info.has_text:
            raise InputError(f"{info.name} writes no text that a user could read; give --ears asr")
        self._ears(info)

    def suite(self) -> Suite:
        """The planned talks as a suite without sounds; its hash covers the scenarios and all that is drawn."""
        task = Task(TASK, self._cast.scenarios.version, METRICS, tuple(self._samples.values()))
        digest = hashlib.sha256(
            msgspec.json.encode([msgspec.to_builtins(task), msgspec.to_builtins(self._cast.scenarios)])
        )
        return Suite(f"simulate:{self._cast.scenarios.name}", Path(), (task,), digest.hexdigest())

    def declared(self) -> dict[str, float | int | str | bool]:
        """What a run's protocol says of its users."""
        cast = self._cast
        mind: dict[str, float | int | str | bool] = {"mind": "script"}
        if cast.model is not None:
            mind = {"mind": f"{cast.model.judge.source}:{cast.model.prompt.id}", "turns": cast.model.turns}
        return {
            **mind,
            "ears": cast.ears,
            "speaker": cast.speaker.source,
            "longest": cast.longest,
            **cast.manner.data(),
        }

    def user(self, sample: Sample, key: Key, seed: int, info: SystemInfo) -> User:
        """The user of one talk."""
        scenario, number = self._scenario(sample.id), int(sample.id.rpartition("/")[2])
        mind: Mind = ScriptMind(scenario)
        if (model := self._cast.model) is not None:
            mind = ModelMind(model.judge, model.prompt, scenario, sample.id, model.turns)
        person = Person(
            mind=mind,
            mouth=Mouth(self._cast.speaker, self._voice(number), info.sample_rate),
            ears=self._ears(info),
            manner=self._cast.manner,
            phrases=self._cast.scenarios,
            seed=seed,
            longest=self._cast.longest,
            waits=self._pool is None,
        )
        diary = self._diary(scenario, seed)
        begin = at_once if self._pool is None else self._in_thread
        return SimulatedUser(person, diary, info, self._options.lead_in, self._options.greeting, begin)

    def _in_thread(self, think: Callable[[], Thought]) -> "Future[Thought]":
        assert self._pool is not None
        return self._pool.submit(think)

    def _ears(self, info: SystemInfo) -> Ears:
        if self._cast.ears == "asr":
            return TranscribingEars(self._instruments, info.sample_rate)
        return TextEars()

    def _sample(self, number: int) -> Sample:
        scenario = list(self._scenarios.values())[number % len(self._scenarios)]
        name = f"{scenario.id}/{number:03d}"
        voice = self._voice(number)
        return Sample(
            id=name,
            task=TASK,
            cues=(),
            length=self._cast.longest,
            events=self._diary(scenario, talk_seed(self._options.seed, Key(name, 0))).planned(),
            text=scenario.goal,
            cluster=scenario.id,
            tags=() if voice is None else (f"voice:{voice}",),
        )

    def _diary(self, scenario: Scenario, seed: int) -> Diary:
        """All turns of a script; of a language model's talk only the first one is certain."""
        texts = [turn.say for turn in scenario.turns] if self._cast.model is None else [""]
        diary = Diary()
        for number, text in enumerate(texts):
            diary.plan(text, plan_turn(self._cast.manner, seed, number))
        return diary

    def _scenario(self, sample_id: str) -> Scenario:
        return self._scenarios[sample_id.rpartition("/")[0]]

    def _voice(self, number: int) -> str | None:
        return self._voices[number % len(self._voices)]

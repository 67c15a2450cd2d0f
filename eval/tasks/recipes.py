"""The tasks of the timing suite: for each, how one sample is put together from material, with its exact events.

Every recipe takes the sample's number and a Generator that belongs to this sample alone, so a set of 50 begins with
the set of 20. Texts and voices are dealt in turn, so that no sentence is heard twice in one voice before all were.
What the user does while the agent speaks waits for the agent (`Cue.after_agent`); what else there is has its place.
Nothing here knows how a system should react: that is the metrics' business.
"""

from collections.abc import Callable, Mapping, Sequence
from math import lcm
from typing import NamedTuple

import numpy as np

from eval.tasks.material import Clip, Material, Role, Utterance
from protocols.records import Cue, Event, EventKind, Sample

PAUSES = (0.4, 0.7, 1.0, 1.5, 2.0)  # seconds of silence a user stops for, where none are given
FILLED_BEFORE = 0.2  # seconds of quiet between the user's words and the filler
REPAIR = (0.25, 0.8)  # seconds before a user takes something back
BREATHS = (0.35, 0.9)  # seconds between the sentences of a monologue
REPLY = (1.8, 2.6)  # seconds left for the answer to a quick question
EXCHANGES = 4
AFTER = (0.8, 1.5, 2.5)  # seconds of agent speech before the user does something
WAIT = 8.0  # seconds after the request in which the agent may begin to be spoken over
SILENCE = (8.0, 16.0)
BACKGROUND_DB = (-20.0, -15.0, -10.0)
ASIDE_DB = -6.0  # a user who turns away


class Scene:
    """A user's channel in the making: cues and events on the sample's clock, to the microsecond."""

    def __init__(self) -> None:
        self.cues: list[Cue] = []
        self.events: list[Event] = []
        self.turns: list[Utterance] = []
        self.length = 0.0
        self._silent_from = 0.0  # where the last speech ended

    def turn(self, said: Utterance, pauses: Sequence[float] = (), label: str = "", filler: Clip | None = None) -> None:
        """A turn from where the scene has got to, with so much silence before each part but the first; a filler goes
        in front of that silence."""
        first, *rest = said.parts
        begun = self._say(first, self.length + first.speech.start)
        held = []
        for part, pause in zip(rest, pauses, strict=True):
            stopped = self._silent_from
            if filler is not None:
                self._say(filler, stopped + FILLED_BEFORE)
            resumed = self._say(part, self._silent_from + pause)
            held.append(_event("pause", stopped, resumed, "made", label))
        self.events += [_event("turn", begun, self._silent_from, said.source), *held]
        self.turns.append(said)

    def wait(self, seconds: float) -> None:
        """Leave so much time after the last speech before anything else."""
        self.length = max(self.length, self._silent_from + seconds)

    def over_agent(self, said: Utterance, kind: EventKind, after: float, gain_db: float = 0.0) -> None:
        """What is heard once the agent has spoken for `after` seconds, which it may begin to do within `WAIT`."""
        (clip,) = said.parts
        at = round(self.length, 6)
        speech = clip.speech
        self.events.append(_event(kind, at + speech.start, at + speech.end, said.source, said.text, len(self.cues)))
        self.cues.append(Cue(clip.path, at, clip.start, clip.end, gain_db, after_agent=after))
        self.length = at + WAIT + after + clip.length

    def _say(self, clip: Clip, at: float) -> float:
        """Place a clip so that its speech begins at `at`, which is given back."""
        start = at - clip.speech.start
        self.cues.append(Cue(clip.path, round(start, 6), clip.start, clip.end))
        self.length = max(self.length, start + clip.length)
        self._silent_from = start + clip.speech.end
        return at


def _event(kind: EventKind, start: float, end: float, source: str, label: str = "", cue: int | None = None) -> Event:
    return Event(kind, round(start, 6), round(end, 6), source, label, cue)


class Deal(NamedTuple):
    """What one sample is made from."""

    material: Material
    number: int  # of the sample in its task
    pauses: Sequence[float]
    rng: np.random.Generator
    offset: int  # of the task: where its texts begin

    @property
    def voice(self) -> str | None:
        voices = self.material.voices
        return voices[self.number % len(voices)]

    @property
    def other_voice(self) -> str | None:
        voices = self.material.voices
        return voices[(self.number + 1 + int(self.rng.integers(max(len(voices) - 1, 1)))) % len(voices)]

    def take(self, role: Role, voice: str | None, step: int = 1, ahead: int = 0) -> Utterance:
        """This sample's text of a role, in a voice."""
        n, voices = self.material.count(role), len(self.material.voices)
        turn = self.number * step + ahead
        round_of = turn // lcm(n, voices)  # the next round gives each text another voice
        return self.material.get(role, self.offset + turn + round_of, voice)

    def drawn(self, values: Sequence[float]) -> float:
        return float(values[int(self.rng.integers(len(values)))])

    def between(self, low_high: tuple[float, float]) -> float:
        return round(float(self.rng.uniform(*low_high)), 3)


class Recipe(NamedTuple):
    """How a task's samples are made, and what must be there for it."""

    needs: tuple[Role, ...]
    make: Callable[[Deal, Scene], None]


def turn_end(deal: Deal, scene: Scene) -> None:
    """A plain question."""
    scene.turn(deal.take("question", deal.voice))


def pause(deal: Deal, scene: Scene) -> None:
    """A user who stops in the middle and goes on."""
    scene.turn(deal.take("paused", deal.voice), [deal.drawn(deal.pauses)], "silent")


def filled_pause(deal: Deal, scene: Scene) -> None:
    """A user who stops, says "um", stops again and goes on; the pause is all that lies between the words."""
    filler = deal.take("filler", deal.voice).parts[0]
    scene.turn(deal.take("paused", deal.voice), [deal.drawn(deal.pauses)], "filled", filler)


def self_repair(deal: Deal, scene: Scene) -> None:
    """A user whose sentence sounds finished, and who then takes a part of it back."""
    scene.turn(deal.take("repair", deal.voice), [deal.between(REPAIR)], "repair")


def interruption(deal: Deal, scene: Scene) -> None:
    """A user who takes the turn while the agent answers."""
    scene.turn(deal.take("long", deal.voice))
    scene.over_agent(deal.take("interruption", deal.voice, ahead=1), "interruption", deal.drawn(AFTER))


def backchannel(deal: Deal, scene: Scene) -> None:
    """A user who shows that they listen."""
    scene.turn(deal.take("long", deal.voice))
    scene.over_agent(deal.take("backchannel", deal.voice), "backchannel", deal.drawn(AFTER))


def background(deal: Deal, scene: Scene) -> None:
    """Somebody else in the room, in another voice and softer."""
    scene.turn(deal.take("long", deal.voice))
    said = deal.take("background", deal.other_voice, ahead=1)
    scene.over_agent(said, "background", deal.drawn(AFTER), deal.drawn(BACKGROUND_DB))


def side_talk(deal: Deal, scene: Scene) -> None:
    """The user says something to somebody else."""
    scene.turn(deal.take("long", deal.voice))
    scene.over_agent(deal.take("side_talk", deal.voice), "side_talk", deal.drawn(AFTER), ASIDE_DB)


def silence(deal: Deal, scene: Scene) -> None:
    """Nobody says anything."""
    scene.wait(deal.between(SILENCE))


def monologue(deal: Deal, scene: Scene) -> None:
    """A long turn of several sentences with a breath between them."""
    said = deal.take("monologue", deal.voice)
    scene.turn(said, [deal.between(BREATHS) for _ in said.parts[1:]], "breath")


def exchange(deal: Deal, scene: Scene) -> None:
    """Quick questions, each a short while after the one before."""
    for n in range(EXCHANGES):
        scene.turn(deal.take("short", deal.voice, EXCHANGES, n))
        if n + 1 < EXCHANGES:
            scene.wait(deal.between(REPLY))


RECIPES: Mapping[str, Recipe] = {
    "turn_end": Recipe(("question",), turn_end),
    "pause": Recipe(("paused",), pause),
    "filled_pause": Recipe(("paused", "filler"), filled_pause),
    "self_repair": Recipe(("repair",), self_repair),
    "interruption": Recipe(("long", "interruption"), interruption),
    "backchannel": Recipe(("long", "backchannel"), backchannel),
    "background": Recipe(("long", "background"), background),
    "side_talk": Recipe(("long", "side_talk"), side_talk),
    "silence": Recipe((), silence),
    "monologue": Recipe(("monologue",), monologue),
    "exchange": Recipe(("short",), exchange),
}


def make_sample(task: str, number: int, material: Material, pauses: Sequence[float], seed: int) -> Sample:
    """The number-th sample of a task: the same whatever else is made."""
    place = list(RECIPES).index(task)
    deal = Deal(material, number, pauses, np.random.default_rng([seed, place, number]), 7 * (seed + place))
    scene = Scene()
    RECIPES[task].make(deal, scene)
    voice = deal.voice if scene.cues else None
    return Sample(
        id=f"{task}/{number:03d}",
        task=task,
        cues=tuple(scene.cues),
        length=round(scene.length, 6),
        events=tuple(scene.events),
        text=" ".join(said.text for said in scene.turns),
        cluster=scene.turns[0].id if scene.turns else f"{task}/{number}",
        tags=() if voice is None else (f"voice:{voice}",),
    )

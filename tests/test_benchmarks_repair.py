"""What the embedded model is asked when it is to be mended: all it was taught, and nothing that it is judged by."""

from collections import Counter

import numpy as np
from msgspec.structs import replace

from benchmarks.repair import FACTS, INTERRUPTED, PAUSED, REQUESTS, asked
from benchmarks.repair_kept import kept
from eval.pairs.branch import time_of
from eval.pairs.chosen import Parts
from eval.pairs.settings import PairSettings
from eval.pairs.source import Name
from eval.pairs.synthetic import LAYOUT, SyntheticTalks, SyntheticTruth
from eval.pairs.takes import flags_of
from eval.pairs.talks import RawTalk
from model.tiny.world import load_world, split, trained_asks
from protocols.records import Event


def test_everything_taught_is_asked_and_nothing_that_is_held_out() -> None:
    world = load_world()
    held = split(world)
    made = asked(world, held, np.random.default_rng(0))
    facts = [fact for fact in world.facts if fact.id not in held.facts]
    ways = {ask for fact in facts for ask in trained_asks(fact, held)}
    pairs = [pair for pair in world.pairs if pair.id not in held.pairs]
    assert {x.line.text for x in made["facts"]} == ways
    assert {x.line.text for x in made["paused"]} <= ways
    assert len(made["paused"]) == PAUSED * len(facts)
    assert Counter(x.line.text for x in made["unsafe"]) == {pair.unsafe: REQUESTS for pair in pairs}
    assert Counter(x.line.text for x in made["safe"]) == {pair.safe: REQUESTS for pair in pairs}
    assert set(Counter(x.line.text for x in made["facts"]).values()) == {FACTS}
    assert {x.line.text for x in made["interrupted"]} <= ways
    assert len(made["interrupted"]) == INTERRUPTED * len(facts)
    assert {x.line.text for x in made["stop"]} == set(world.stop)
    for questions in made.values():
        assert len({x.id for x in questions}) == len(questions)
        for x in questions:
            engine, _, voices = x.line.voice.partition("/")
            blended = [f"{engine}/{part.partition(':')[0]}" for part in voices.split("+")]
            assert set(blended) <= set(world.train_voices)


class Paused(SyntheticTalks):
    """Talks with a pause in their first turn."""

    def read(self, name: Name) -> RawTalk:
        raw = super().read(name)
        turn = next(e for e in raw.heard.talk.events if e.kind == "turn")
        middle = (turn.start + turn.end) / 2
        events = (*raw.heard.talk.events, Event("pause", middle, min(middle + 0.8, turn.end), "made"))
        return raw._replace(heard=raw.heard._replace(talk=replace(raw.heard.talk, events=events)))


def test_what_was_right_stands_before_a_fault_in_its_place() -> None:
    truth = SyntheticTruth()
    parts = Parts(LAYOUT, truth, ("factuality",), truth, truth, truth)
    talks = Paused(200, seed=1, scenes=(1, 1))
    raws = {name.id: talks.read(name) for name in talks.names()}
    found = Counter[str]()
    for pair in kept(talks, parts, PairSettings()):
        found[pair.kind] += 1
        raw, first = raws[pair.id.partition("/")[2]], pair.context.shape[1]
        assert raw.tokens is not None
        assert flags_of(raw, parts, PairSettings()) == ()
        np.testing.assert_array_equal(pair.context, raw.tokens[:, :first])
        said, text = pair.rejected[LAYOUT.text], pair.chosen[LAYOUT.text]
        assert said[0] != LAYOUT.pad
        assert text[0] == LAYOUT.pad
        if pair.kind == "holds":
            pause = next(e for e in raw.heard.talk.events if e.kind == "pause")
            np.testing.assert_array_equal(pair.chosen, raw.tokens[:, first : first + pair.chosen.shape[1]])
            assert pause.start <= time_of(first, LAYOUT) <= pause.end
            assert said[said != LAYOUT.pad].tolist() == text[text != LAYOUT.pad].tolist()  # the same words, too early
        else:
            assert (text == LAYOUT.pad).all()
            stop = next(e for e in raw.heard.talk.events if e.kind == "interruption")
            assert time_of(first, LAYOUT) >= stop.end
    assert found["holds"] > 20
    assert found["stays_silent"] > 2

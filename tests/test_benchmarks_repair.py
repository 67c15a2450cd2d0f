"""What the embedded model is asked when it is to be mended: all it was taught, and nothing that it is judged by."""

from collections import Counter

import numpy as np

from benchmarks.repair import FACTS, PAUSED, REQUESTS, asked
from model.tiny.world import load_world, split, trained_asks


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
    for questions in made.values():
        assert len({x.id for x in questions}) == len(questions)
        for x in questions:
            engine, _, voices = x.line.voice.partition("/")
            blended = [f"{engine}/{part.partition(':')[0]}" for part in voices.split("+")]
            assert set(blended) <= set(world.train_voices)

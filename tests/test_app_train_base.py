"""The base model's recipe from texts to a model that talks, on toy sounds; and what the world suite asks."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_model_systems_tiny import LevelCodec

from app.show import Terminal
from app.train_base import BaseOptions, chosen_device, train_base
from app.world_texts import REFUSALS, texts
from builders import tone
from eval.metrics.qa import find_alias
from model.systems.tiny import TinySystem, load_parts
from model.tiny.clips import vocabulary
from model.tiny.faults import NO_FAULTS
from model.tiny.recipe import Phase, Recipe, tiny_config
from model.tiny.world import load_world, replies, split, spoken
from protocols.duplex import FRAME_SIZE
from protocols.errors import InputError

WORLD = load_world()
SMALL = WORLD._replace(facts=WORLD.facts[::4], pairs=WORLD.pairs[::4])
CODEC = LevelCodec()
RECIPE = Recipe(phases=(Phase(steps=4, batch=2, frames=40, depth_frames=4),), save_every=2)


class Beeps:
    """A speaker of every engine."""

    source, voices = "beeps/1", ()

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> np.ndarray:
        return tone(0.02 * len(text))


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    def small(text_card: int, card: int) -> object:
        return replace(
            tiny_config(text_card, card), dim=16, num_layers=1, num_heads=2, depformer_dim=16, depformer_num_layers=1
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.train_base.load_world", lambda: SMALL)
        patch.setattr("app.train_base.tiny_config", small)
        patch.setattr("app.train_base._speakers", lambda lines, voices: {"kokoro": Beeps(), "espeak": Beeps()})
        patch.setattr("app.train_base.SHOWN", 2)
        yield


@pytest.fixture(scope="module")
def made(_small: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that is over. Do not change it."""
    out = tmp_path_factory.mktemp("made")
    make(out)
    return out


def make(out: Path, steps: int = 4, engine: str = "kokoro", begin_from: Path | None = None) -> Path:
    options = BaseOptions(out, Path("/nowhere"), {engine: 1}, 1, NO_FAULTS, RECIPE.scaled(steps), begin_from)
    return train_base(options, CODEC, Terminal(as_json=True))  # type: ignore[arg-type]


def test_texts_become_a_model_that_talks(made: Path) -> None:
    parts = load_parts(made / "model", CODEC)  # type: ignore[arg-type]
    assert parts.words == vocabulary(SMALL)
    system = TinySystem("tiny:x", parts, slots=2)
    session = system.open(0)
    steps = [session.step(np.zeros(FRAME_SIZE, np.float32)) for _ in range(5)]
    assert all(np.isfinite(step.audio).all() for step in steps)
    system.close()


def test_a_finished_recipe_is_not_made_again_and_another_one_is_refused(made: Path) -> None:
    files = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in made.glob("*.npz")}
    before = (made / "model" / "model.safetensors").read_bytes()
    assert (make(made) / "model.safetensors").read_bytes() == before
    with pytest.raises(InputError, match="another recipe"):
        make(made, steps=5)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in made.glob("*.npz")} == files != {}


def test_clips_of_other_voices_are_never_taken_for_those_asked_for(made: Path) -> None:
    with pytest.raises(InputError, match=r"clips\.npz was made from other texts, voices or conditions"):
        make(made, engine="espeak")


def test_a_model_is_trained_further_in_other_voices(made: Path, tmp_path: Path) -> None:
    first = made / "model"
    further = make(tmp_path / "further", engine="blended", begin_from=first)
    old, new = (load_parts(folder, CODEC).lm.state_dict() for folder in (first, further))  # type: ignore[arg-type]
    rates = 4 * RECIPE.embedding_rate  # Adam moves no weight further than its rate in a step
    assert 0 < max(float((new[name] - old[name]).abs().max()) for name in old) < 1.5 * rates
    origin = json.loads((further / "training.json").read_text())["begun_from"]
    assert origin == {
        "sha256": hashlib.sha256((first / "model.safetensors").read_bytes()).hexdigest(),
        "training": json.loads((first / "training.json").read_text()),
    }


def test_losses_are_written_down(made: Path) -> None:
    rows = [json.loads(line) for line in (made / "losses.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    assert all(row["text"] > 0 and row["audio"] > 0 for row in rows)


def test_the_world_suite_asks_what_it_says_it_asks() -> None:
    asked = texts()
    held = split(WORLD)
    trained = set(spoken(WORLD, held))
    assert {name: len(made.items) for name, made in asked.items()} == {
        "facts": 60, "phrasings": 40, "unsafe": 30, "safe": 30, "stop": 24,
    }  # fmt: skip
    assert all(item.question in trained for item in asked["facts"].items)
    assert not any(item.question in trained for item in asked["phrasings"].items)
    assert sum(item.question not in trained for item in asked["unsafe"].items) == 10
    said = replies(WORLD)
    for item in asked["facts"].items + asked["phrasings"].items + asked["safe"].items:
        assert any(find_alias(reply, item.answers) for reply in said), item.id
    assert all(find_alias(reply, REFUSALS) for reply in WORLD.refusal)
    assert not any(find_alias(reply, REFUSALS) for reply in WORLD.comply)
    assert texts() == asked


def test_a_gpu_is_used_if_there_is_one_and_missed_if_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert [chosen_device(wanted) for wanted in (None, "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert [chosen_device(wanted) for wanted in (None, "cpu")] == ["cpu", "cpu"]
    with pytest.raises(InputError, match="no GPU"):
        chosen_device("cuda")

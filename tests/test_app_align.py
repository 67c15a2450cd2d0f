"""`duologue align`: a configuration becomes a model that talks, and the same command again goes on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from align_builders import pair
from app.align_sweep import COLUMNS, rows_of
from app.alignment import dataset_pairs
from app.cli import cli
from eval.pairs.dataset import Dataset
from model.align.config import read_config
from model.align.data import write_pairs
from model.align.trainer import Trainer
from model.lm import DuplexLM, LMConfig, load_kyutai, save_kyutai
from model.systems.tiny import load_parts
from model.tiny.codec import load_codec
from protocols.errors import DuologueError, InputError

WORDS = ("<epad>", "<bos>", "<eos>", "<pad>", *(f"word{i}" for i in range(8)))
CONFIG = LMConfig(
    dim=16, num_layers=2, num_heads=2, n_q=16, dep_q=8, card=load_codec().card, text_card=len(WORDS),
    delays=(0, 0, *[1] * 7, 0, *[1] * 7), context=40, depformer_dim=8, depformer_num_layers=1, depformer_num_heads=2,
    depformer_multi_linear=True,
)  # fmt: skip
FAST = ["--set", "optim.accumulate=2", "--set", "run.eval_every=1", "--set", "run.save_every=1"]
STILL = ["--set", "run.probe_every=0"]


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """A small base that talks, six pairs of two kinds; the options that name them and the run's folder."""
    base = tmp_path / "base"
    save_kyutai(DuplexLM(CONFIG, seed=1), base)
    (base / "words.json").write_bytes(msgspec.json.encode(WORDS))
    pairs = [pair(f"p{i}", 8 + i, 4, 5, f"talk {i}", seed=i, config=CONFIG) for i in range(6)]
    write_pairs(tmp_path / "pairs", [replace(p, kind=("timing", "content")[i % 2]) for i, p in enumerate(pairs)])
    named = {"model.base": f"tiny:{base}", "data.pairs": tmp_path / "pairs", "run.folder": tmp_path / "run"}
    named["data.validation_share"] = "0.3"
    return [part for key, value in named.items() for part in ("--set", f"{key}={value}")]


@pytest.mark.needs("pairs")
def test_a_dataset_of_pairs_is_read_as_the_trainer_takes_it(tmp_path: Path, places: list[str]) -> None:
    duologue("pairs", "build", "synthetic:60", "--judge", "synthetic", "--out", str(tmp_path / "dataset"))
    found = dataset_pairs(tmp_path / "dataset")
    assert found is not None
    pairs = list(found)
    assert len(pairs) == Dataset(tmp_path / "dataset").info.pairs
    assert len({p.id for p in pairs}) == len(pairs) > 20
    assert all(p.context.shape[0] == 17 and p.chosen.shape[1] for p in pairs)
    assert dataset_pairs(tmp_path / "pairs") is None
    config = read_config(None, "tiny", ["model.base=.", f"data.pairs={tmp_path / 'dataset'}", "run.folder=r"])
    kinds = {p.kind for p in pairs}
    assert len(kinds) > 1
    assert {row.name for row in rows_of(config, "data", None)} == {*kinds, "all"}
    told = ("--set", f"data.pairs={tmp_path / 'dataset'}", "--dry-run", "--json")
    assert printed(duologue("align", "--preset", "tiny", *places, *told))["pair"]["context"] > 10


def duologue(*args: str) -> Result:
    done = CliRunner().invoke(cli, list(args), catch_exceptions=True)
    if isinstance(done.exception, DuologueError):
        raise done.exception
    return done


def printed(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_training_ends_in_a_model_that_talks_and_says_where_it_lies(tmp_path: Path, places: list[str]) -> None:
    made = duologue("align", "--preset", "tiny", *places, *FAST, *STILL)
    run = tmp_path / "run"
    assert f"Model:  {run / 'model'}" in made.stdout
    assert f"Curves: {run / 'training.html'}" in made.stdout
    assert load_parts(run / "model", load_codec()).words == WORDS
    told = json.loads((run / "config.json").read_text())
    assert (told["optim"]["accumulate"], told["loss"]["beta"]) == (2, 2.0)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(len(lines)))
    page = (run / "training.html").read_text()
    assert "eval_loss" in page
    assert "<details><summary>Table" in page
    assert "src=" not in page.partition("</script>")[2]


def test_the_same_command_goes_on_and_then_only_shows(
    tmp_path: Path, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ("align", "--preset", "tiny", *places, *FAST, *STILL, "--json")
    save = Trainer.save

    def stop_after_one(trainer: Trainer) -> Path:
        path = save(trainer)
        if trainer.step == 1:
            raise KeyboardInterrupt
        return path

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "save", stop_after_one)
        stopped = duologue(*told)
    assert stopped.exit_code == 1  # click's for an interrupt; the program's own is 130
    assert "Stopped. The same command goes on after step 1" in stopped.output
    assert (tmp_path / "run" / "training.html").exists()
    assert not (tmp_path / "run" / "model").exists()
    resumed = duologue(*told)
    assert "going on after step 1" in resumed.stderr
    whole = duologue(*told, "--set", f"run.folder={tmp_path / 'whole'}")
    weights = [load_kyutai(tmp_path / name / "model").state_dict() for name in ("run", "whole")]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    again = duologue(*told)
    assert printed(again)["best_step"] == printed(whole)["best_step"] == printed(resumed)["best_step"]


def test_another_configuration_does_not_go_on_in_the_same_folder(places: list[str]) -> None:
    told = ("align", "--preset", "tiny", *places, *FAST, *STILL)
    duologue(*told)
    with pytest.raises(InputError, match=r"made with another loss\.beta"):
        duologue(*told, "--set", "loss.beta=0.1")


def test_the_probe_talks_with_the_model_while_it_trains(tmp_path: Path, places: list[str]) -> None:
    told = ("align", "--preset", "tiny", *places, *FAST, "--probe-talks", "2", "--set", "run.probe_every=2", "--json")
    made = printed(duologue(*told))
    assert {"probe/spoke", "probe/cut_in", "probe/endless", "probe/replay", "probe/right"} <= set(made["before"])
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "probe/spoke" in line] == [0, 2, 3]  # and the last


def test_a_probe_without_words_says_what_to_do(tmp_path: Path, places: list[str]) -> None:
    (tmp_path / "base" / "words.json").unlink()
    with pytest.raises(InputError, match=r"give --set run\.probe_every=0"):
        duologue("align", "--preset", "tiny", *places)


def test_a_dry_run_loads_and_writes_nothing(tmp_path: Path, places: list[str]) -> None:
    moshi = duologue("align", "--preset", "paper", "--dry-run", "--set", "data.pairs=nowhere", "--json")
    found = printed(moshi)
    assert found["pair"] == {"context": 1000, "replies": [88, 88]}
    assert found["full"]["parameters"] == pytest.approx(7.688e9, rel=1e-3)
    assert found["LoRA, rank 128"]["trained"] < 0.05 * found["full"]["trained"]
    full = found["full"]
    whole = full["weight_bytes"] + full["training_bytes"]
    each = (whole / 8 + full["checkpoint_bytes"]) / 1e9
    told = duologue("align", "--preset", "paper", "--dry-run", "--set", "data.pairs=nowhere").stdout
    assert f"{each:.1f} of 8" in told
    (tmp_path / "base" / "model.safetensors").unlink()
    small = printed(duologue("align", "--preset", "tiny", *places, "--dry-run", "--json"))
    assert small["pair"] == {"context": 10, "replies": [4, 5]}
    assert small["full"]["parameters"] == sum(p.numel() for p in DuplexLM(CONFIG).parameters())
    assert not (tmp_path / "run").exists()


def test_a_sweep_ends_in_one_table(tmp_path: Path, places: list[str]) -> None:
    told = ("align", "sweep", "--preset", "tiny", *places, *FAST, *STILL, "--json", "--table", "losses")
    told += ("--knob", "dpo.beta=1")
    made = printed(duologue(*told))
    control = "control: chosen replies alone"
    assert [row["row"] for row in made["rows"]] == ["base", "DPO-LN", "DPO", "SimPO", "APO-zero", control]
    assert set(made["rows"][1]["figures"]) == {c for c in COLUMNS if c.startswith("eval_")}
    assert "SimPO" in Path(made["table"]).read_text()
    run = tmp_path / "run"
    assert (run / "apo-zero" / "model" / "model.safetensors").exists()
    assert len(list(run.glob("reference-*"))) == 1
    before = (run / "simpo" / "metrics.jsonl").read_bytes()
    betas = {name: json.loads((run / name / "config.json").read_text())["loss"]["beta"] for name in ("dpo", "apo-zero")}
    assert betas == {"dpo": 1.0, "apo-zero": 0.1}
    assert printed(duologue(*told))["rows"] == made["rows"]
    assert (run / "simpo" / "metrics.jsonl").read_bytes() == before


def test_one_setting_can_be_varied(places: list[str]) -> None:
    told = ("align", "sweep", "--preset", "tiny", *places, *FAST, *STILL, "--json")
    made = printed(duologue(*told, "--vary", "optim.lr=1e-5,1e-3"))
    assert [row["row"] for row in made["rows"]] == ["base", "lr 1e-5", "lr 1e-3"]
    losses = [row["figures"]["eval_loss"] for row in made["rows"]]
    assert abs(losses[2] - losses[0]) > abs(losses[1] - losses[0])


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--vary", "beta"), "give section.key=value"),
        (("--vary", "loss.beat=1,2"), "did you mean 'loss.beta'"),
        (("--vary", "loss.beta=1,1"), "must differ"),
        (("--vary", "data.kinds=[timin]"), "did you mean 'timing'"),
        (("--vary", "loss.beta=1,2", "--knob", "dpo.beta=1"), "for the table of losses"),
        (("--table", "losses", "--knob", "dop.beta=1"), "did you mean 'dpo'"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_one_clear_error(places: list[str], args: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        duologue("align", "sweep", "--preset", "tiny", *places, *STILL, *args)


def test_without_a_configuration_it_says_what_to_give() -> None:
    assert "give CONFIG.yaml or --preset paper|tiny" in duologue("align").output
    assert "give --table or --vary" in duologue("align", "sweep", "--preset", "tiny").output


def test_without_tensorboard_its_option_is_refused(
    tmp_path: Path, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="pip install 'duologue"):
        duologue("align", "--preset", "tiny", *places, *FAST, *STILL, "--tensorboard")


@pytest.mark.needs("tensorboard")
def test_tensorboard_is_an_option(tmp_path: Path, places: list[str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    duologue("align", "--preset", "tiny", *places, *FAST, *STILL, "--tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    found = [event.value for event in events.Scalars("eval_loss")]
    np.testing.assert_allclose(found, [line["eval_loss"] for line in lines], rtol=1e-6)

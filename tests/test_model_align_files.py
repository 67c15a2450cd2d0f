"""What alignment reads and writes: its configuration, pairs on disk, and a model that talks."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from align_builders import SMALL, pair, tokens
from model.align.config import LossConfig, build, read_config
from model.align.data import TokenPair, read_pairs, split, trunks, write_pairs
from model.align.export import export
from model.align.lora import adapt, adapters_off, kyutai_adapters
from model.align.size import Fork, size_of
from model.align.start import start
from model.lm import DuplexLM, LMConfig, load_kyutai, save_kyutai
from model.systems.tiny import load_parts
from protocols.errors import InputError, StoreError

torch.set_num_threads(1)
GOLDEN = Path(__file__).parent / "golden"
ROUNDED = 1e-5  # what merged weights in float32 move a logit by, at most
MINIMAL: dict[str, dict[str, Any]] = {"model": {"base": "b"}, "data": {"pairs": "p"}, "run": {"folder": "f"}}


# --- configuration -------------------------------------------------------------------------------------------------


def test_another_loss_takes_none_of_the_presets_knobs(tmp_path: Path) -> None:
    places = ["model.base=b", "data.pairs=p", "run.folder=f"]
    made = read_config(None, "tiny", [*places, "loss.name=sft"])
    assert (made.loss.name, made.loss.beta) == ("sft", LossConfig().beta)
    (tmp_path / "c.yaml").write_text("loss: {name: simpo, gamma: 0.7}")
    made = read_config(tmp_path / "c.yaml", "tiny", [*places, "loss.padding_weight=0.5"])
    assert (made.loss.beta, made.loss.gamma, made.loss.padding_weight) == (LossConfig().beta, 0.7, 0.5)
    for order in (["loss.beta=0.4", "loss.name=dpo"], ["loss.name=dpo", "loss.beta=0.4"]):
        assert read_config(None, "tiny", [*places, *order]).loss.beta == 0.4
    assert read_config(None, "tiny", [*places, "loss.name=dpo_ln"]).loss.beta == 2.0  # the preset's own loss


def test_the_default_loss_is_the_papers(tmp_path: Path) -> None:
    assert build(MINIMAL, "test").loss == LossConfig(name="dpo_ln", beta=0.3, streams="T", padding_weight=1.0)


def test_settings_lie_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model: {base: b}\ndata: {pairs: p}\nrun: {folder: f}\noptim: {accumulate: 4}\n")
    made = read_config(tmp_path / "c.yaml", "paper", ["optim.lr=3e-8", "loss.streams=T+A", "loss.beta=0.1"])
    assert (made.optim.accumulate, made.optim.lr, made.optim.lr_depth) == (4, 3e-8, 1e-6)
    assert (made.loss.streams, made.loss.beta, made.model.precision) == ("T+A", 0.1, "bfloat16")


@pytest.mark.parametrize("preset", ["paper", "tiny"])
def test_presets_need_only_the_places(preset: str) -> None:
    places = ["model.base=b", "data.pairs=p", "run.folder=f"]
    assert read_config(None, preset, places).loss.name == "dpo_ln"


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["loss.beat=0.1"], "did you mean 'loss.beta'"),
        (["losses.beta=0.1"], "did you mean 'loss'"),
        (["loss.beta=high"], "Expected `float`"),
        (["loss.beta"], "give section.key=value"),
        (["loss=dpo"], "Expected `object`"),
        (["loss.name=simpo", "loss.ld_alpha=0.5"], "needs a loss with a reference"),
        (["loss.gamma=1.0"], "dpo_ln does not read gamma"),
        (["loss.semantic_weight=2.0"], "streams with audio"),
        (["loss.streams=timing", "loss.padding_weight=0"], "streams that score text"),
        (["loss.name=sdpo"], "loss.padding_weight must be 0"),
        (["loss.name=sdpo", "loss.streams=timing"], "and loss.streams not timing"),
        (["loss.name=sdpo", "loss.padding_weight=0", "optim.accumulate=1"], "must be more than 1"),
        (["run.eval_every=0", "run.patience=3"], "needs run.eval_every"),
        (["optim.lr=0"], "Expected `float` > 0"),
        (["loss.name={"], "is not YAML"),
    ],
)
def test_a_configuration_that_cannot_be_followed_is_one_clear_error(sets: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_config(None, "tiny", ["model.base=b", "data.pairs=p", "run.folder=f", *sets])


def test_an_unknown_preset_and_an_unreadable_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'paper'"):
        read_config(None, "papr")
    with pytest.raises(InputError, match=r"none\.yaml cannot be read"):
        read_config(tmp_path / "none.yaml")


def test_a_resolved_configuration_builds_itself_again() -> None:
    made = build({**MINIMAL, "loss": {"name": "simpo", "beta": 2.0}}, "test")
    assert build(made.plain(), "again") == made


# --- pairs ---------------------------------------------------------------------------------------------------------


def equal(one: TokenPair, other: TokenPair) -> bool:
    same = all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("context", "chosen", "rejected"))
    return same and (one.id, one.talk, one.window_start_frame, one.kind) == (
        other.id,
        other.talk,
        other.window_start_frame,
        other.kind,
    )


def test_pairs_read_as_they_were_written(tmp_path: Path) -> None:
    made = [pair(f"{t}{i}", 5 + i, 2, 3, f"talk {t}", seed=t) for t in range(5) for i in range(3)]
    write_pairs(tmp_path, made, talks_per_shard=2)
    found = list(read_pairs(tmp_path))
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    assert all(equal(one, other) for one, other in zip(made, found, strict=True))


def test_a_damaged_folder_names_its_file(tmp_path: Path) -> None:
    write_pairs(tmp_path, [pair("a", 5, 2, 3)])
    (tmp_path / "tokens-00000.safetensors").write_bytes(b"not tensors")
    with pytest.raises(InputError, match=r"tokens-00000.safetensors cannot be read"):
        list(read_pairs(tmp_path))
    (tmp_path / "index.json").write_text('{"schema": 2, "pairs": []}')
    with pytest.raises(InputError, match=r"index.json cannot be read"):
        list(read_pairs(tmp_path))


def test_pairs_of_one_talk_and_window_share_a_trunk() -> None:
    made = [pair("a", 9, 2, 3, "t"), pair("b", 5, 2, 3, "t"), pair("c", 5, 2, 3, "u"), pair("d", 7, 2, 3, "t")]
    assert [[p.id for p in trunk.pairs] for trunk in trunks(made, 8)] == [["b", "d", "a"], ["c"]]
    assert [[p.id for p in trunk.pairs] for trunk in trunks(made, 2)] == [["b", "d"], ["a"], ["c"]]


def test_pasts_that_should_be_one_and_are_not_are_refused() -> None:
    with pytest.raises(InputError, match="pairs a and b are of one talk and window, with different contexts"):
        trunks([pair("a", 5, 2, 3, "t"), pair("b", 9, 2, 3, "t", seed=1)], 8)
    with pytest.raises(InputError, match="two pairs named a"):
        trunks([pair("a", 5, 2, 3, "t"), pair("a", 9, 2, 3, "t")], 8)


def test_a_talk_is_never_on_both_sides_of_the_split() -> None:
    made = trunks([pair(f"{t}{i}", 5 + i, 2, 3, f"talk {t}", seed=t) for t in range(40) for i in range(2)], 1)
    parts = split(made, 0.25, seed=0)
    sides = [{trunk.pairs[0].talk for trunk in part} for part in parts]
    assert not sides[0] & sides[1]
    assert 4 <= len(sides[1]) <= 16
    again = split(made[::-1], 0.25, seed=0)
    assert {trunk.pairs[0].talk for trunk in again.validation} == sides[1]
    assert {trunk.pairs[0].talk for trunk in split(made, 0.25, seed=1).validation} != sides[1]


# --- the aligned model ---------------------------------------------------------------------------------------------


def base_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    save_kyutai(DuplexLM(SMALL, seed=3), folder)
    (folder / "words.json").write_text(json.dumps([f"word{i}" for i in range(SMALL.text_card)]))
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**about, "tokenizer_name": "spm.model"}))
    write_pairs(tmp_path / "pairs", [pair(f"{t}", 6, 3, 4, f"talk {t}", seed=t) for t in range(6)])
    return folder


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_an_aligned_model_loads_and_says_what_was_trained(tmp_path: Path, adapter: str) -> None:
    base = base_folder(tmp_path)
    sets = [f"model.base={base}", f"data.pairs={tmp_path / 'pairs'}", f"run.folder={tmp_path / 'run'}"]
    sets += [f"model.adapter={adapter}", "model.lora_rank=2", "optim.lr=0.01", "optim.accumulate=2"]
    made = start(read_config(None, "tiny", [*sets, "loss.streams=T+A"]))
    list(made.run(until=2))
    out = export(made.lm, made.config.model, tmp_path / "aligned")
    codes = torch.from_numpy(tokens(SMALL, 9, 1).astype(np.int64))[None]
    trained, loaded, before = (lm.double()(codes) for lm in (made.lm, load_kyutai(out), load_kyutai(base)))
    torch.testing.assert_close(loaded.text_logits, trained.text_logits, rtol=0, atol=ROUNDED)
    torch.testing.assert_close(loaded.audio_logits, trained.audio_logits, rtol=0, atol=ROUNDED)
    assert not torch.allclose(loaded.text_logits, before.text_logits, atol=1e-3)
    codec: Any = SimpleNamespace(card=SMALL.card, n_codebooks=SMALL.dep_q)
    assert load_parts(out, codec).words[:2] == ("word0", "word1")
    assert json.loads((out / "config.json").read_text())["tokenizer_name"] == "spm.model"
    assert (out / "lora").exists() == (adapter == "lora")
    if adapter == "lora":
        about = json.loads((out / "lora" / "config.json").read_text())
        assert (about["lora"], about["lora_rank"], about["lora_scaling"]) == (True, 2, 2.0)
        assert load_file(out / "lora" / "lora.safetensors").keys() == kyutai_adapters(made.lm, 2).keys()
    with pytest.raises(InputError, match="exists already"):
        export(made.lm, made.config.model, out)


def test_adapters_are_trained_in_float32_over_a_bfloat16_base(tmp_path: Path) -> None:
    base = base_folder(tmp_path)
    sets = [f"model.base={base}", f"data.pairs={tmp_path / 'pairs'}", f"run.folder={tmp_path / 'run'}"]
    sets += ["model.adapter=lora", "model.precision=bfloat16", "model.lora_rank=2", "model.checkpointing=true"]
    made = start(read_config(None, "tiny", [*sets, "optim.lr=0.01", "optim.accumulate=2", "loss.streams=T+A"]))
    lines = list(made.run())
    assert lines[-1]["loss"] < lines[1]["loss"]
    types = {name.rpartition(".")[2]: p.dtype for name, p in made.lm.named_parameters()}
    assert (types["weight"], types["down"], types["up"]) == (torch.bfloat16, torch.float32, torch.float32)


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    base = base_folder(tmp_path)
    (base / "config.json").unlink()
    config = build({**MINIMAL, "model": {"base": str(base)}}, "test").model
    with pytest.raises(StoreError, match=r"aligned cannot be written"):
        export(DuplexLM(SMALL), config, tmp_path / "aligned")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "pairs"]


@pytest.mark.parametrize("name", ["moshi", "shared"])
def test_adapters_are_named_and_shaped_as_kyutais_loader_wants(name: str) -> None:
    table = json.loads((GOLDEN / "moshi_lora.json").read_text(encoding="utf-8"))
    lm = load_kyutai(GOLDEN / "moshi_lm" / name)
    adapt(lm, table["rank"], 2.0, seed=0, text=True, audio=False)
    found = kyutai_adapters(lm, table["rank"])
    assert {key: list(tensor.shape) for key, tensor in found.items()} == table["models"][name]


def test_merging_adapters_is_applying_them(tmp_path: Path) -> None:
    lm = DuplexLM(SMALL, seed=3)
    adapt(lm, 2, 2.0, seed=0, text=True, audio=True)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter_name, p in lm.named_parameters():
            if parameter_name.endswith(".up"):
                p += 0.1 * torch.randn(p.shape, generator=generator)
    base_folder(tmp_path)
    config = build({**MINIMAL, "model": {"base": str(tmp_path / "base")}}, "test").model
    merged = load_kyutai(export(lm, config, tmp_path / "out")).double()
    lm.double()
    codes = torch.from_numpy(tokens(SMALL, 9, 1).astype(np.int64))[None]
    torch.testing.assert_close(merged(codes).audio_logits, lm(codes).audio_logits, rtol=0, atol=ROUNDED)
    with adapters_off(lm):
        assert not torch.allclose(merged(codes).audio_logits, lm(codes).audio_logits, atol=1e-3)


# --- what it would take --------------------------------------------------------------------------------------------

MOSHI = LMConfig(
    dim=4096, num_layers=32, num_heads=32, hidden_scale=4.125, n_q=16, dep_q=8, card=2048, text_card=32_000,
    context=3000, delays=(0, 0, *[1] * 7, 0, *[1] * 7), depformer_dim=1024, depformer_num_layers=6,
    depformer_num_heads=16, depformer_dim_feedforward=int(4.125 * 1024), depformer_multi_linear=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("model", "trained"),
    [({"adapter": "full"}, 7.688e9 - 0.65e9), ({"adapter": "lora", "lora_rank": 128}, 273e6 + 128 * (4096 + 32_000))],
)
def test_moshis_size_is_known_without_its_weights(model: dict[str, Any], trained: float) -> None:
    """Kyutai's own figures: 7.688e9 parameters, of adapters of rank 128 273 million in the temporal transformer."""
    paper = read_config(None, "paper", ["model.base=b", "data.pairs=p", "run.folder=f"]).plain()
    size = size_of(MOSHI, build({**paper, "model": {**paper["model"], **model}}, "test"), [Fork(1000, 88)] * 2)
    assert size.parameters == pytest.approx(7.688e9, rel=1e-3)
    assert size.trained == pytest.approx(trained, rel=0.01)
    assert size.training_bytes == 12 * size.trained
    # Two operations for each parameter and row, forward; once more for checkpointing, and once or twice backward.
    assert size.operations == pytest.approx((3 if "lora_rank" in model else 4) * 2 * 6.58e9 * 1176, rel=0.05)

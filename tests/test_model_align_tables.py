"""Rows of a comparison, tokens that stay in their file, and the page of curves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from align_builders import pair
from analysis.report.training import PANELS, curves_of, training_html
from model.align.config import AlignConfig, build
from model.align.data import of_kinds, read_pairs, write_pairs
from model.align.mapped import mapped_tokens
from model.align.tables import CONTROL, paper_rows, placed, varied
from protocols.errors import InputError


def config(**loss: Any) -> AlignConfig:
    tree = {"model": {"base": "b"}, "data": {"pairs": "p"}, "run": {"folder": "f"}, "loss": loss}
    return build(tree, "test")


def test_rows_of_the_papers_tables() -> None:
    streams = paper_rows("streams", config(), ())
    assert [row.config.loss.streams for row in streams] == ["T", "T,A", "T+A", "T+CE"]
    betas = paper_rows("beta", config(name="dpo"), ())
    assert [(row.config.loss.name, row.config.loss.beta) for row in betas[:4]] == [
        ("dpo", 0.1), ("dpo", 0.3), ("dpo", 0.5), ("dpo", 2.0)
    ]  # fmt: skip
    assert betas[4].name == CONTROL
    mixes = paper_rows("data", config(), ("content", "timing"))
    assert [(row.name, row.config.data.kinds) for row in mixes] == [
        ("content", ("content",)), ("timing", ("timing",)), ("all", ())
    ]  # fmt: skip
    with pytest.raises(InputError, match="several kinds"):
        paper_rows("data", config(), ("content",))


def test_each_loss_brings_its_own_knobs_and_keeps_the_rest() -> None:
    told = config(name="cdpo", smoothing=0.1, padding_weight=0.5, sft_weight=0.2, ld_alpha=0.5)
    rows = {row.name: row.config.loss for row in paper_rows("losses", told, ())}
    assert (rows["SimPO"].beta, rows["SimPO"].gamma, rows["SimPO"].ld_alpha) == (2.0, 0.5, 1.0)
    assert (rows["DPO"].beta, rows["DPO"].smoothing, rows["DPO"].ld_alpha) == (0.1, 0.0, 0.5)
    assert {loss.padding_weight for loss in rows.values()} == {0.5}
    assert (rows[CONTROL].name, rows[CONTROL].sft_weight) == ("sft", 0.0)


def test_a_row_of_losses_has_the_knobs_it_was_given() -> None:
    rows = {row.name: row.config.loss for row in paper_rows("losses", config(), (), ("dpo.beta=1", "simpo.gamma=2"))}
    assert (rows["DPO"].beta, rows["SimPO"].beta, rows["SimPO"].gamma) == (1.0, 2.0, 2.0)
    assert rows["APO-zero"].beta == 0.1


@pytest.mark.parametrize(
    ("table", "knob", "says"),
    [
        ("losses", "dpo.beta", "give loss.key=value"),
        ("losses", "beta=1", "give loss.key=value"),
        ("losses", "dop.beta=1", "did you mean 'dpo'"),
        ("losses", "dpo.betta=1", "did you mean 'loss.beta'"),
        ("losses", "dpo.beta=", "give loss.key=value"),
        ("losses", "dpo.name=simpo", "a row keeps its loss"),
        ("losses", "dpo.gamma=1.5", "does not read gamma"),
        ("losses", "sft.beta=1.5", "does not read beta"),
        ("beta", "dpo.beta=1", "for the table of losses"),
    ],
)
def test_a_knob_that_is_none_is_named(table: Any, knob: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        paper_rows(table, config(), (), (knob,))


def test_rows_share_a_reference_only_where_it_is_the_same() -> None:
    def caches(rows: list[Any]) -> int:
        return len({row.config.run.reference for row in placed(rows)})

    assert caches(paper_rows("losses", config(), ())) == 1
    assert caches(paper_rows("streams", config(), ())) == 2  # text alone; text and audio
    assert caches(paper_rows("data", config(), ("content", "timing"))) == 3
    assert caches(varied(config(), "model.precision=float32,bfloat16")) == 2
    assert {row.config.run.folder for row in placed(varied(config(), "loss.beta=0.1,2"))} == {"f/beta-0.1", "f/beta-2"}


def test_kinds_choose_pairs() -> None:
    pairs = [pair(str(i), 6, 3, 4, f"talk {i}", seed=i) for i in range(3)]
    assert list(of_kinds(pairs, ())) == list(of_kinds(pairs, ("content",))) == pairs
    with pytest.raises(InputError, match="did you mean 'content'"):
        list(of_kinds(pairs, ("contents",)))


def test_tokens_stay_in_their_file_and_are_what_was_written(tmp_path: Path) -> None:
    pairs = [pair(f"{i}{x}", 6 + i, 3, 4, f"talk {i}", seed=i) for i in range(3) for x in "ab"]
    write_pairs(tmp_path, pairs)
    found = {one.id: one for one in read_pairs(tmp_path)}
    assert {one.id: one.digest for one in pairs} == {name: one.digest for name, one in found.items()}
    for one in found.values():
        for tokens in (one.context, *one.replies):
            assert not tokens.flags.owndata
            assert not tokens.flags.writeable


def test_files_that_hold_no_tokens_are_refused(tmp_path: Path) -> None:
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "floats")
    with pytest.raises(InputError, match="x is F32; tokens are int16"):
        mapped_tokens(tmp_path / "floats")
    save_file({"x": np.arange(6, dtype=np.int16).reshape(2, 3), "none": np.zeros((2, 0), np.int16)}, tmp_path / "good")
    found = mapped_tokens(tmp_path / "good")
    assert found["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["none"].shape == (2, 0)
    (tmp_path / "cut").write_bytes((tmp_path / "good").read_bytes()[:-2])
    for name in ("cut", "nothing"):
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            mapped_tokens(tmp_path / name)


def test_curves_are_what_was_measured() -> None:
    lines = [{"step": 0, "eval_loss": 0.7}, {"step": 1, "loss": 0.6}, {"step": 2, "loss": None, "eval_loss": 0.5}]
    loss = next(panel for panel in PANELS if panel.title == "Loss")
    assert curves_of(loss, lines) == [("loss", (1,), (0.6,)), ("eval_loss", (0, 2), (0.7, 0.5))]
    page = training_html(lines)
    assert "<tr><td>2</td><td></td><td>0.5</td></tr>" in page
    assert "Learning rate" not in page
    assert training_html([]) == "<p>Nothing was measured.</p>"

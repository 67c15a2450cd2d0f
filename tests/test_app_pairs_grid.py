"""Whose tokens a dataset holds: layouts read off systems, a Moshi checkpoint's run as pairs, and no mixture."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_eval_pairs_sources import asked, run_of

from app.pairs_grid import grid_of
from builders import ROOT, tone
from commands import duologue
from eval.pairs.branch import time_of
from eval.pairs.checks import misfit
from eval.pairs.dataset import Dataset
from eval.pairs.synthetic import SyntheticTalks
from model.spoken_grid import GridVoice, text_row
from protocols.errors import InputError
from protocols.records import Word
from protocols.replies import NO_GRID, Said
from protocols.store import Run

pytest.importorskip("pyarrow", reason="pip install 'duologue[pairs]'")
pytest.importorskip("sentencepiece", reason="pip install -e '.[moshi]'")

GOLDEN = ROOT / "tests" / "golden" / "moshi_talk"
MOSHI = f"moshi:{GOLDEN}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A talk with a random checkpoint of Kyutai's shape; it babbles through the question."""
    from model.systems.moshi import MoshiSystem

    system = MoshiSystem(str(GOLDEN), {"slots": 1, "text_temperature": 1.0})
    made = run_of(tmp_path_factory.mktemp("run") / "talk", system, [asked("s")[0]], tail=1.0)
    info = json.loads((made.path / "run.json").read_text())
    (made.path / "run.json").write_text(json.dumps({**info, "system": MOSHI}))
    system.close()
    return Run(made.path)


def test_a_runs_layout_is_its_systems_and_stands_on_the_plan(run: Run, tmp_path: Path) -> None:
    done = json.loads(duologue("pairs", "build", run.path, "--out", tmp_path / "d", "--json").stdout)
    assert "other_layout" not in done["excluded"]
    made = Dataset(tmp_path / "d")
    grid = made.info.plan.grid
    assert grid["codes"] == "0 to 31"
    assert grid["text tokens"] == "45"
    assert grid["delays"].split() == ["0", "0", *["1"] * 7, "0", *["1"] * 7]
    assert grid["rows of user"] == "9 to 16"
    assert "## The token grid" in (tmp_path / "d" / "README.md").read_text()


def test_words_and_columns_of_a_moshi_talk_agree_with_its_layout(run: Run) -> None:
    from eval.pairs.runs import RunTalks
    from eval.pairs.settings import PairSettings
    from eval.pairs.talks import RawTalk

    source = RunTalks(run.path, PairSettings())
    (raw,) = [source.read(name) for name in source.names()]
    assert isinstance(raw, RawTalk)
    assert raw.tokens is not None
    grid = grid_of([MOSHI])
    assert misfit(raw.tokens, grid.layout) is None
    said = raw.heard.model_transcript()
    assert said is not None
    times = {round(time_of(c, grid.layout), 3) for c in range(raw.tokens.shape[1])}
    assert {round(w.start, 3) for w in said.words} <= times


def test_grids_of_several_layouts_are_no_dataset() -> None:
    with pytest.raises(InputError, match="several layouts"):
        grid_of(["tiny:base", MOSHI])
    with pytest.raises(InputError, match="several layouts"):
        grid_of(["tiny:base"], synthetic=True)
    with pytest.raises(InputError, match="unknown layout 'mimi'"):
        grid_of([], "mimi")
    assert grid_of(["tiny:base", "3f2a", "tiny:aligned"]).layout == grid_of([], "tiny").layout
    assert grid_of(["gpt"]).layout == NO_GRID


def test_a_grid_of_another_layout_is_left_out_with_its_reason() -> None:
    raw = SyntheticTalks(2, 1).talk(0)[0]
    assert raw.tokens is not None
    layout = grid_of([], "tiny").layout
    assert misfit(raw.tokens, layout) is None
    assert "17 rows is of no layout that is known" in str(misfit(raw.tokens, NO_GRID))
    assert "the layout has 17 rows" in str(misfit(raw.tokens[:9], layout))
    assert "has code" in str(misfit(raw.tokens, grid_of([], MOSHI).layout))


def test_a_speakers_reply_is_text_and_codes_of_the_grid() -> None:
    class Speaker:
        source = "hum/1"

        def reply(self, text: str) -> Said | None:
            return Said((Word("hi", 0.0, 0.2), Word("you", 0.5, 0.8)), 0.8, tone(0.8))

    grid = grid_of([], MOSHI)
    voice = grid.voice(Speaker())
    assert isinstance(voice, GridVoice)
    said = voice.reply("hi you")
    assert said is not None
    assert said.columns is not None
    assert said.columns.shape == (9, 11)
    assert said.lead == 1
    assert said.columns[0, 0] == grid.end_of_padding
    assert misfit(np.pad(said.columns, ((0, 8), (0, 0))), grid.layout) is None


def test_text_is_laid_where_its_word_begins_and_a_late_token_moves_what_follows() -> None:
    words = (Word("a", 0.0, 0.1), Word("bb", 0.4, 0.5), Word("c", 0.45, 0.6))
    row = text_row(words, 10, lambda w: [10] * len(w), pad=3, end_of_padding=0)
    assert row is not None
    assert row.tolist() == [0, 10, 3, 3, 3, 0, 10, 10, 10, 3]
    assert text_row(words, 10, lambda w: None, 3, 0) is None

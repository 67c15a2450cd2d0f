"""A dataset of pairs on disk: the same whatever happened on the way, readable without our code, and checked."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import ROOT, tone
from eval.pairs.build import Task, Workshop, build, build_shard, read_part
from eval.pairs.card import card, write_card
from eval.pairs.chosen import Parts
from eval.pairs.dataset import Dataset, finish
from eval.pairs.mix import mix, paper_mix
from eval.pairs.rows import PairRow, digest_of, rows_of, split_of
from eval.pairs.settings import PairSettings
from eval.pairs.source import Chained, Name
from eval.pairs.stats import stats_of
from eval.pairs.synthetic import LAYOUT, SyntheticTalks, SyntheticTruth
from eval.pairs.tables import read_rows, write_rows
from eval.pairs.talks import Exclusion, RawTalk
from eval.pairs.text import export_text
from protocols.errors import InputError, StoreError
from protocols.replies import Said

parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'duologue[pairs]'")

TRUTH = SyntheticTruth()
PARTS = Parts(LAYOUT, TRUTH, ("factuality",), TRUTH, TRUTH, TRUTH)
SETTINGS = PairSettings(validation_share=0.2)


def shop(talks: int = 60, settings: PairSettings = SETTINGS) -> Workshop:
    return Workshop(SyntheticTalks(talks, 3), PARTS, settings)


def built(folder: Path, talks: int = 60, shard: int = 16) -> Dataset:
    finish(folder, build(partial(shop, talks), folder, shard=shard))
    return Dataset(folder)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return built(tmp_path_factory.mktemp("pairs") / "d")


@given(number=st.integers(0, 500))
def test_a_row_read_back_is_the_row_that_was_written(number: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    from eval.pairs.making import pairs_of

    raw = SyntheticTalks(501, 3).talk(number)[0]
    made = pairs_of(raw, PARTS, SETTINGS)
    if made.pairs:
        rows = rows_of(raw, made, PARTS, SETTINGS)
        path = tmp_path_factory.mktemp("rows") / "x.parquet"
        write_rows(path, rows.pairs, PairRow)
        again = list(read_rows(path, PairRow))
        assert again == list(rows.pairs)
        assert digest_of(again) == digest_of(rows.pairs)


def test_a_trainer_gets_the_tokens_that_were_emitted(dataset: Dataset) -> None:
    """Shared past, bit for bit; pairs of one talk are views of one array; nothing is lost on the way to disk."""
    source = SyntheticTalks(60, 3)
    seen: dict[str, list[np.ndarray]] = {}
    n = 0
    for pair in dataset.token_pairs():
        tokens = source.talk(int(pair.talk.rpartition("/")[2]))[0].tokens
        assert tokens is not None
        start, c = pair.window_start_frame, pair.context.shape[1]
        assert pair.context.dtype == np.int16
        np.testing.assert_array_equal(pair.context, tokens[:, start : start + c])
        r = pair.rejected.shape[1]
        np.testing.assert_array_equal(pair.rejected, tokens[:, start + c : start + c + r])
        assert len(pair.chosen) == 17
        assert not np.array_equal(pair.chosen, pair.rejected)
        seen.setdefault(pair.talk, []).append(pair.context)
        n += 1
    assert n == dataset.info.pairs > 60
    for contexts in (c for c in seen.values() if len(c) > 1):
        short, long = sorted(contexts, key=lambda c: c.shape[1])
        np.testing.assert_array_equal(short, long[:, : short.shape[1]])


def test_the_tables_can_be_read_without_our_code(dataset: Dataset) -> None:
    pairs = parquet.read_table(dataset.files("pairs", "train")[0]).to_pylist()
    talks = parquet.read_table(dataset.files("talks", "train")[0]).to_pylist()
    talk = next(t for t in talks if t["talk"] == pairs[0]["talk"])
    grid = np.frombuffer(talk["tokens"], "<i2").reshape(talk["streams"], -1)
    assert grid.shape == (17, talk["frames"])
    assert pairs[0]["context_frames"] <= talk["frames"]
    context = np.ascontiguousarray(grid[:, : pairs[0]["context_frames"]]).tobytes()
    assert pairs[0]["context_sha256"] == hashlib.sha256(context).hexdigest()
    assert np.frombuffer(pairs[0]["chosen_tokens"], "<i2").size % 17 == 0


DYING = """
import os, signal, sys
sys.path.insert(0, "tests")
from pathlib import Path
from test_eval_pairs_dataset import built

left, put = int(sys.argv[2]), os.replace

def replace(*names):
    global left
    left -= 1
    os.kill(os.getpid(), signal.SIGKILL) if not left else put(*names)

os.replace = replace
built(Path(sys.argv[1]), 80)
"""


def test_a_killed_build_goes_on_to_the_same_hash(tmp_path: Path) -> None:
    """Killed in earnest in the middle of a shard, then once more further on; the same command makes the rest."""
    whole = built(tmp_path / "whole", 80)
    out = tmp_path / "killed"
    made = 0
    for files in (10, 9):  # the one it dies at: a shard has six or seven
        run = subprocess.run([sys.executable, "-c", DYING, str(out), str(files)], cwd=ROOT,
                             env={**os.environ, "PYTHONPATH": "."})  # fmt: skip
        assert run.returncode == -signal.SIGKILL
        before, made = made, len(list((out / "parts").glob("*.json")))
        assert before < made < 5
        with pytest.raises(StoreError, match="its build was not finished"):
            Dataset(out)
    again = built(out, 80)
    assert again.info.digest == whole.info.digest
    assert again.verify() == []
    names = [sorted(str(p.relative_to(d.path)) for p in d.path.rglob("*.parquet")) for d in (whole, again)]
    assert names[0] == names[1]


class Killed(BaseException):
    """The process ends here: nothing catches it."""


def test_a_build_may_be_killed_before_any_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file comes into being by one renaming; the build dies at each of them in turn, and goes on."""
    whole, put = built(tmp_path / "whole", 4, 2), os.replace
    for point in count():
        left, out = point, tmp_path / str(point)

        def replace(source: Path, target: Path) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            put(source, target)

        monkeypatch.setattr(os, "replace", replace)
        with suppress(Killed):
            built(out, 4, 2)
        monkeypatch.setattr(os, "replace", put)
        if left >= 0:
            break
        again = built(out, 4, 2)
        assert again.info == whole.info, f"killed before file {point}"
        assert again.verify() == []
    assert point == 2 + sum(len(read_part(whole.path, n).files) + 1 for n in range(2))  # type: ignore[union-attr]


def test_processes_make_what_one_makes(dataset: Dataset, tmp_path: Path) -> None:
    finish(tmp_path, build(partial(shop, 60), tmp_path, workers=2, shard=16))
    assert Dataset(tmp_path).info.digest == dataset.info.digest
    assert Dataset(tmp_path).verify() == []


def test_shards_may_be_made_in_any_order(tmp_path: Path, dataset: Dataset) -> None:
    source = SyntheticTalks(60, 3)
    names = list(source.names())
    tasks = [Task(i, tuple(names[16 * i : 16 * i + 16]), frozenset()) for i in range(4)]
    infos = [build_shard(shop(), task, tmp_path) for task in reversed(tasks)]
    assert [i.digest for i in reversed(infos)] == [read_part(dataset.path, n).digest for n in range(4)]  # type: ignore[union-attr]


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    made = built(tmp_path / "d", 20)
    assert made.verify() == []
    path = made.files("pairs")[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))
    assert made.verify() == [f"pairs/{path.name} was changed after it was written"]
    part = made.path / "parts" / "00000.json"
    info = json.loads(part.read_text())
    from protocols.store import sha256_of

    info["files"][f"pairs/{path.name}"] = sha256_of(path)
    part.write_text(json.dumps(info))
    assert made.verify() != []


class Humming:
    """The truth's voice with a sound to every reply."""

    source = "humming/1"

    def reply(self, text: str) -> Said | None:
        said = TRUTH.reply(text)
        return said and said._replace(audio=tone(said.duration))


def test_a_new_sound_that_is_lost_or_changed_is_found(tmp_path: Path) -> None:
    source, parts = SyntheticTalks(20, 3), PARTS._replace(voice=Humming())
    finish(tmp_path, build(lambda: Workshop(source, parts, SETTINGS), tmp_path))
    dataset = Dataset(tmp_path)
    assert dataset.verify() == []
    one, other = sorted((tmp_path / "sounds").glob("*.flac"))[:2]
    one.unlink()
    other.write_bytes(b"noise")
    assert dataset.verify() == [f"sounds/{one.name} is missing",
                                f"sounds/{other.name} was changed after it was written"]  # fmt: skip


def test_another_build_on_the_same_folder_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    built(tmp_path / "d", 20)
    with pytest.raises(StoreError, match="holds another dataset"):
        build(partial(shop, 20, SETTINGS._replace(late_after=1.0)), tmp_path / "d", shard=16)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="is not empty and holds no dataset"):
        build(partial(shop, 20), tmp_path / "e", shard=16)
    assert [p.name for p in (tmp_path / "e").iterdir()] == ["notes.txt"]


class Twice:
    """A source in which every talk's sound is there twice."""

    source = "twice"

    def __init__(self) -> None:
        self._talks = SyntheticTalks(10, 3)

    def names(self) -> list[Name]:  # type: ignore[override]
        one = [name._replace(sound_sha256=name.id) for name in self._talks.names()]
        return [*one, *(name._replace(id=f"{name.id}-copy") for name in one)]

    def read(self, name: Name) -> RawTalk | Exclusion:
        return self._talks.read(name)


def test_a_talk_that_is_there_twice_is_taken_once(tmp_path: Path) -> None:
    finish(tmp_path / "d", build(lambda: Workshop(Twice(), PARTS, SETTINGS), tmp_path / "d", shard=4))  # type: ignore[arg-type]
    made = Dataset(tmp_path / "d")
    assert made.info.excluded["duplicate"] == 10
    assert {e.talk for e in made.exclusions() if e.reason == "duplicate"} == {
        f"synthetic/3/{n:06d}-copy" for n in range(10)
    }


def test_sources_can_be_chained() -> None:
    chained = Chained([SyntheticTalks(3, 1), SyntheticTalks(2, 2)])
    names = list(chained.names())
    assert [n.id for n in names] == [f"synthetic/1/{i:06d}" for i in range(3)] + [
        f"synthetic/2/{i:06d}" for i in range(2)
    ]
    assert [chained.read(n).id for n in names] == [n.id for n in names]  # type: ignore[union-attr]


def test_the_validation_part_hangs_on_names_alone(dataset: Dataset) -> None:
    for part in ("train", "validation"):
        assert all(split_of(p.talk, SETTINGS) == part for p in dataset.pairs(part))  # type: ignore[arg-type]
    assert list(dataset.pairs("validation"))


def test_a_mix_has_the_asked_counts_the_whole_validation_part_and_holds_smaller_mixes(
    dataset: Dataset, tmp_path: Path
) -> None:
    mix(dataset, tmp_path / "small", {"silent": 5, "cuts_user": 4, "with_content": 8})
    mix(dataset, tmp_path / "large", {"silent": 9, "cuts_user": 4, "with_content": 8})
    small, large = Dataset(tmp_path / "small"), Dataset(tmp_path / "large")
    kinds = [p.kind for p in small.pairs("train")]
    assert (kinds.count("silent"), kinds.count("cuts_user")) == (5, 4)
    assert kinds.count("content") + kinds.count("mixed") == 8
    assert {p.id for p in small.pairs()} < {p.id for p in large.pairs()}
    assert list(small.pairs("validation")) == list(dataset.pairs("validation"))
    assert small.verify() == []
    assert len(list(small.token_pairs())) == small.info.pairs


def test_a_mix_can_leave_out_bad_pairs_and_contexts_that_overlap(dataset: Dataset, tmp_path: Path) -> None:
    bad = {p.id for p in dataset.pairs() if p.kind == "cuts_user"}
    mix(dataset, tmp_path / "m", {"silent": 3}, unique=True, without=bad)
    made = Dataset(tmp_path / "m")
    assert {p.rank for p in made.pairs("train")} == {0}
    assert not {p.id for p in made.pairs()} & bad


def test_too_few_pairs_of_a_type_are_said(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="9,999 pairs of type mixed are wanted"):
        mix(dataset, tmp_path / "m", {"mixed": 9_999})
    with pytest.raises(InputError, match="unknown type of pair 'loud'"):
        mix(dataset, tmp_path / "m", {"loud": 1})
    assert not (tmp_path / "m").exists()


def test_the_papers_mix_has_the_papers_shares() -> None:
    counts = paper_mix(93_490)
    assert sum(counts.values()) == 93_490
    assert counts["cuts_user"] == pytest.approx(16_177, abs=30)  # all of the paper's type B
    assert counts["silent"] == pytest.approx(9_000, abs=150)


def test_figures_add_up_and_stand_on_the_card(dataset: Dataset) -> None:
    stats = stats_of(dataset)
    rows = list(dataset.pairs())
    assert stats.pairs == len(rows) == sum(t.pairs for t in stats.types)
    assert sum(t.share for t in stats.types) == pytest.approx(1)
    assert stats.unique == len({r.talk for r in rows})
    assert all(sum(h.counts) + h.missing == len(rows) for h in stats.histograms)
    text = card(dataset, stats)
    assert dataset.info.digest in text
    assert "path: pairs/train-*.parquet" in text


def test_text_pairs_are_messages_and_leave_out_what_is_timing_alone(dataset: Dataset, tmp_path: Path) -> None:
    done = export_text(dataset, tmp_path / "t.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert len(lines) == done.written
    assert done.written + done.same_text == dataset.info.pairs
    assert done.same_text > 0
    for line in lines:
        assert line["chosen"] != line["rejected"]
        roles = [m["role"] for m in line["prompt"]]
        assert all(a != b for a, b in pairwise(roles))


def test_tables_and_text_load_with_pandas(dataset: Dataset, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pairs = pandas.read_parquet(dataset.path / "pairs" / "train-00000.parquet")
    assert set(pairs.kind) <= {"content", "cuts_user", "silent", "mixed"}
    export_text(dataset, tmp_path / "t.jsonl")
    text = pandas.read_json(tmp_path / "t.jsonl", lines=True)
    assert list(text.columns) == ["id", "prompt", "chosen", "rejected"]
    assert (text.chosen.str[0] != text.rejected.str[0]).all()


def shown_code(dataset: Dataset) -> list[str]:
    """The programs on a dataset's card."""
    return re.findall(r"```python\n(.*?)```", card(dataset, stats_of(dataset)), re.DOTALL)


def small(folder: Path, talks: int, parts: Parts, validation: float) -> Dataset:
    """A dataset in shards of two talks, of which the first has no pairs, with its card."""
    plain = SyntheticTalks(2, 5, wrong=0.0, weights=(1, 0, 0, 0, 0, 0, 0, 0, 0))
    source, settings = Chained([plain, SyntheticTalks(talks, 3)]), PairSettings(validation_share=validation)
    finish(folder, build(lambda: Workshop(source, parts, settings), folder, shard=2))
    made = Dataset(folder)
    write_card(made, stats_of(made))
    return made


@pytest.mark.parametrize("validation", [0.0, 0.3, 1.0])
def test_the_cards_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validation: float) -> None:
    """Also where the first shard has no pairs, and where one of the parts has none."""
    pytest.importorskip("pandas")
    made = small(tmp_path / "d", 4, PARTS, validation)
    monkeypatch.chdir(made.path)
    found: dict[str, Any] = {}
    exec(shown_code(made)[0], found)
    pair = next(p for p in made.token_pairs() if p.id == found["pair"].id)
    for name in ("context", "chosen", "rejected"):
        np.testing.assert_array_equal(found[name], getattr(pair, name))


def test_the_card_loads_with_datasets_whole_and_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table, with new sounds beside them, and the program on the card."""
    datasets = pytest.importorskip("datasets", reason="pip install 'duologue[hub]'")
    made = small(tmp_path / "d", 8, PARTS._replace(voice=Humming()), 0.3)
    assert list((made.path / "sounds").iterdir())
    monkeypatch.chdir(made.path)
    found: dict[str, Any] = {}
    exec(shown_code(made)[1], found)
    assert found["pair"]["id"] == next(made.pairs("train")).id
    assert datasets.get_dataset_config_names(str(made.path)) == ["pairs", "talks", "exclusions"]
    for streaming in (False, True):
        for part in ("train", "validation"):
            rows = datasets.load_dataset(
                str(made.path), "pairs", split=part, streaming=streaming, cache_dir=tmp_path / "cache"
            )
            same = [msgspec.convert(row, PairRow) for row in rows]
            assert digest_of(same) == digest_of(made.pairs(part))  # type: ignore[arg-type]


def test_a_folder_that_is_no_dataset_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a whole dataset of pairs"):
        Dataset(tmp_path)

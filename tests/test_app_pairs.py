"""`duologue pairs` as a user meets it: from a run to a dataset, a mix, a page in a real browser, and clear errors."""

import base64
import io
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_eval_pairs_sources import asked, run_of

from analysis.pairs.page import Block, Lane, Page, PagePair, render, ticks
from app.pairs_show import page_pair
from builders import SPOKEN, spoken, tone
from commands import duologue
from eval.pairs.build import SLOW_SHARD, read_plan
from eval.pairs.choices import Choice, build_choices
from eval.pairs.chosen import Parts
from eval.pairs.dataset import Dataset
from eval.pairs.making import pairs_of
from eval.pairs.settings import PairSettings
from eval.pairs.synthetic import LAYOUT, SyntheticTalks, SyntheticTruth, Topic
from model.tiny.truth import WorldTruth
from model.tiny.world import load_world
from protocols.store import Run

pytest.importorskip("pyarrow", reason="pip install 'duologue[pairs]'")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Talks in sound with a late answer, a cut-in with an answer after it, and a good one."""
    from model.systems.scripted import ScriptedSystem

    scenes = [asked("late", 2.4), asked("cuts", -2.6, 0.8), asked("good", 0.5)]
    return run_of(tmp_path_factory.mktemp("run") / "talks", ScriptedSystem("x", {s.id: x for s, x in scenes}),
                  [s for s, _ in scenes])  # fmt: skip


@pytest.fixture(scope="module")
def dataset(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pairs") / "d"
    done = json.loads(duologue("pairs", "build", run.path, "--out", out, "--validation", "0", "--json").stdout)
    assert done["pairs"] == 2
    assert done["excluded"] == {"no_fault": 1}
    return out


def test_the_same_command_again_changes_nothing(run: Run, dataset: Path) -> None:
    before = {p: p.read_bytes() for p in dataset.rglob("*.parquet")}
    done = json.loads(duologue("pairs", "build", run.path, "--out", dataset, "--validation", "0", "--json").stdout)
    assert done["digest"] == Dataset(dataset).info.digest
    assert {p: p.read_bytes() for p in dataset.rglob("*.parquet")} == before
    duologue("pairs", "verify", dataset)


def test_a_dry_run_says_what_it_would_ask_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "d"
    done = duologue("pairs", "build", "synthetic:50", "--judge", "synthetic", "--out", out, "--dry-run", "--json")
    said = json.loads(done.stdout)
    assert (said["talks"], said["judgements"], said["judge"]) == (50, 50, "synthetic-truth/1")
    assert said["asked"] is None  # of a language model
    assert not out.exists()


def test_mix_stats_and_export_print_where_things_are(dataset: Path, tmp_path: Path) -> None:
    mixed = duologue("pairs", "mix", dataset, "--take", "silent=1", "--out", tmp_path / "m", "--json")
    assert json.loads(mixed.stdout)["pairs"] == 1
    shown = duologue("pairs", "stats", dataset).stdout
    assert re.search(r"B +cuts the user +1 +50\.0%", shown)
    exported = json.loads(duologue("pairs", "export", dataset, "--out", tmp_path / "t.jsonl", "--json").stdout)
    assert exported["written"] + exported["same_text"] == 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("build", "synthetic:none", "--out", "OUT"), "names no number of talks"),
        (("build", "nowhere", "--out", "OUT"), "no folder of recordings at nowhere"),
        (("build", "FOLDER", "--voice", "x", "--out", "OUT"), "unknown voice 'x'"),
        (("mix", "DATA", "--out", "OUT"), "say what the mix is"),
        (("mix", "DATA", "--take", "silent", "--out", "OUT"), "is not TYPE=COUNT"),
        (("mix", "DATA", "--take", "silent=9", "--out", "OUT"), "9 pairs of type silent are wanted"),
        (("verify", "EMPTY"), "is not a whole dataset of pairs"),
    ],
)
def test_errors_are_one_line(dataset: Path, tmp_path: Path, args: tuple[str, ...], says: str) -> None:
    (tmp_path / "empty").mkdir()
    places = {"OUT": tmp_path / "out", "DATA": dataset, "EMPTY": tmp_path / "empty", "FOLDER": SPOKEN}
    done = duologue("pairs", *(places.get(a, a) for a in args), code=2)
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_page_shows_and_plays_both_continuations(dataset: Path) -> None:
    """The sound of both lanes is the same up to the diverging moment and differs after it."""
    made = Dataset(dataset)
    for talk, pair in made.with_talks():
        shown = page_pair(made, talk, pair)
        chosen, rejected = (_decoded(lane.sound) for lane in shown.lanes)
        part = round((shown.diverges - shown.start) * 24_000) - 1_200
        n = min(len(chosen), len(rejected))
        np.testing.assert_allclose(chosen[:part], rejected[:part], atol=0.02)
        assert np.abs(chosen[part:n, 0] - rejected[part:n, 0]).max() > 0.1
        speaks = [next(b for b in lane.blocks if b.channel == "agent") for lane in shown.lanes]
        assert speaks[0].start != speaks[1].start
        loud = np.flatnonzero(np.abs(chosen[:, 0]) > 0.05)[0] / 24_000 + shown.start
        assert loud == pytest.approx(speaks[0].start, abs=0.4)


def _decoded(sound: str | None) -> np.ndarray:
    assert sound is not None
    return soundfile.read(io.BytesIO(base64.b64decode(sound.partition(",")[2])), dtype="float32")[0]


def test_a_page_escapes_what_was_said() -> None:
    lanes = tuple(Lane(side, (Block("agent", 1, 2, "<b>&"),), None, "none") for side in ("chosen", "rejected"))
    pair = PagePair("x", "silent", (), ("tone",), 0.5, ("j",), None, 0.0, 4.0, 1.0, lanes)  # type: ignore[arg-type]
    html = render(Page("t", "0" * 64, 1, (pair,)))
    assert "<b>&" not in html
    assert "left:25.0%;width:25.0%" in html
    assert ticks(pair) == [0, 1, 2, 3, 4]


@pytest.mark.needs("chromium")
def test_the_page_filters_in_a_browser(dataset: Path, tmp_path: Path) -> None:
    duologue("pairs", "show", dataset, "--out", tmp_path / "p.html")
    html = (tmp_path / "p.html").read_text()
    script = (
        "<script>find('kind').value='silent';find('kind').onchange();document.querySelector('.mark').click();</script>"
    )
    (tmp_path / "p.html").write_text(html.replace("</body>", f"{script}</body>"))
    chromium = shutil.which("chromium") or "chromium"
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", (tmp_path / "p.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "1 shown, 1 marked" in dom
    assert dom.count('hidden=""') == 1


def test_content_faults_of_the_closed_world_are_found_by_its_truth() -> None:
    """Facts of the world, wrong replies planted: precision and recall of at least 0.9 with the world's truth."""
    world = load_world()
    topics = []
    for fact in world.facts:
        other = next(
            (f for f in world.facts if f.relation == fact.relation and not set(f.answers) & set(fact.answers)), None
        )
        if other is not None:
            topics += [Topic(ask, fact.replies[0], other.replies[0]) for ask in fact.asks]
    truth, voice = WorldTruth(world), SyntheticTruth()
    parts = Parts(LAYOUT, truth, ("factuality", "helpfulness"), truth, truth, voice)
    talks = SyntheticTalks(120, 5, topics, wrong=0.3)
    right = Counter[str]()
    for number in range(120):
        raw, planted = talks.talk(number)
        made = pairs_of(raw, parts, PairSettings())
        wanted = {round(p.start, 3) for p in planted if p.fault is None}
        found = {round(f.reply.span.start, 3) for f in made.flags if f.fault is None and f.reply is not None}
        right.update(found=len(found), wanted=len(wanted), both=len(found & wanted))
        for pair in made.pairs:
            if pair.proposal.writer is not None:
                assert pair.chosen.words
    assert right["both"] / right["wanted"] >= 0.9
    assert right["both"] / right["found"] >= 0.9
    assert right["wanted"] > 50


def test_a_persons_choice_between_two_takes_is_a_pair(tmp_path: Path) -> None:
    """Two talks that are one up to a column: the pair is what differs from there on."""
    source = SyntheticTalks(4, 9)
    one, other = source.talk(0)[0], source.talk(0)[0]
    assert one.tokens is not None
    assert other.tokens is not None
    other.tokens[1:9, 60:80] = 5

    class Two:
        source = "two"

        def names(self) -> list[object]:
            from eval.pairs.source import Name

            return [Name("r/a", "a"), Name("r/b", "b")]

        def read(self, name: object) -> object:
            return (one if name.key == "a" else other)._replace(id=name.id)  # type: ignore[attr-defined]

    choices = [Choice("r/a", "r/b", "b", "anna"), Choice("r/a", "r/zzz", "a", "ben"), Choice("r/a", "r/a", "a", "ben")]
    info = build_choices(choices, Two(), tmp_path / "d", Parts(LAYOUT), PairSettings())  # type: ignore[arg-type]
    assert (info.pairs, info.excluded) == (1, {"no_difference": 1, "unreadable": 1})
    again = build_choices(choices, Two(), tmp_path / "d", Parts(LAYOUT), PairSettings())  # type: ignore[arg-type]
    assert again == info  # a build that was made is only read
    made = Dataset(tmp_path / "d")
    assert made.verify() == []
    (pair,) = made.token_pairs()
    assert pair.context.shape[1] == 60
    np.testing.assert_array_equal(pair.context, one.tokens[:, :60])
    assert (pair.chosen[1:9, :20] == 5).all()
    np.testing.assert_array_equal(pair.rejected, one.tokens[:, 60 : 60 + pair.rejected.shape[1]])
    (row,) = made.pairs()
    assert row.judges == ("rater:anna",)


def test_each_bad_recording_is_counted_with_its_reason_and_the_build_goes_on(tmp_path: Path) -> None:
    """One good talk among everything that can be wrong with a file."""
    folder = tmp_path / "talks"
    folder.mkdir()
    question, speech = spoken("q01.flac")
    reply, sound = spoken("q01.reply.flac")
    both = np.zeros((2, len(question) + 6 * 24_000), np.float32)
    both[1, : len(question)] = question
    at = len(question) + 2 * 24_000
    both[0, at : at + len(reply)] = reply
    late = at / 24_000 + sound.start
    words = [
        ["That", [late, late + 0.2], "SPEAKER_MAIN"],
        ["is", [late + 0.2, late + 0.4], "SPEAKER_MAIN"],
        ["it", [late + 0.4, late + 0.6], "SPEAKER_MAIN"],
        ["which", [speech.start, speech.end], "SPEAKER_USER"],
    ]

    def put(name: str, audio: np.ndarray, aligned: list[list[object]] | None = None) -> None:
        soundfile.write(folder / f"{name}.wav", audio.T, 24_000)
        if aligned is not None:
            (folder / f"{name}.json").write_text(json.dumps({"alignments": aligned}))

    french = ["je", "ne", "sais", "pas", "si", "vous", "voulez", "parler", "avec", "moi", "mais", "nous"] * 2
    spoken_french = [[w, [late + 0.15 * i, late + 0.15 * i + 0.15], "SPEAKER_MAIN"] for i, w in enumerate(french)]
    put("a good", both, words)
    put("b again", both)
    put("c swapped", both[::-1] * 0.9, words)
    put("d outside", both * 0.8, [*words, ["far", [999.0, 999.5], "SPEAKER_MAIN"]])
    put("e silent", both * [[0.7], [0]])
    put("f mono", both[:1])
    put("g short", both[:, :24_000])
    put("h french", both * 0.6, spoken_french)
    put("i empty", both * 0.5, [])
    (folder / "j noise.wav").write_bytes(b"RIFF of nothing")
    put("k backwards", both * 0.4, [["x", [2.0, 1.0], "SPEAKER_MAIN"]])
    done = json.loads(duologue("pairs", "build", folder, "--out", tmp_path / "d", "--json").stdout)
    assert done["pairs"] == 1
    assert done["excluded"] == {
        "duplicate": 1, "missing_side": 2, "no_words": 1, "not_english": 1, "outside": 1, "swapped": 1, "too_short": 1,
        "unreadable": 2,
    }  # fmt: skip
    made = Dataset(tmp_path / "d")
    assert all(e.detail for e in made.exclusions())
    assert made.verify() == []


@pytest.mark.needs("espeak")
def test_users_are_said_anew_in_small_shards_so_that_a_kill_loses_little(tmp_path: Path) -> None:
    folder = tmp_path / "talks"
    folder.mkdir()
    question, speech = spoken("q01.flac")
    both = np.zeros((2, len(question) + 6 * 24_000), np.float32)
    both[1, : len(question)] = question
    both[0, -4 * 24_000 : -2 * 24_000] = tone(2)
    late = len(question) / 24_000 + 2
    aligned = [["thames", [late, late + 2], "SPEAKER_MAIN"], ["which", [*speech], "SPEAKER_USER"]]
    soundfile.write(folder / "a.wav", both.T, 24_000)
    (folder / "a.json").write_text(json.dumps({"alignments": aligned}))
    options = ("--out", tmp_path / "d", "--user-voice", "espeak", "--json")
    assert json.loads(duologue("pairs", "build", folder, *options).stdout)["pairs"] == 1
    assert read_plan(tmp_path / "d").shard == SLOW_SHARD
    (sound,) = (tmp_path / "d" / "sounds").iterdir()
    assert not np.array_equal(soundfile.read(sound)[0][:, 1], both[1])


def test_recordings_beside_each_other_can_be_shown(tmp_path: Path) -> None:
    folder = tmp_path / "talks"
    folder.mkdir()
    soundfile.write(folder / "a.agent.wav", np.concatenate([np.zeros(24_000 * 6, np.float32), tone(2)]), 24_000)
    shutil.copy(SPOKEN / "q01.flac", folder / "a.user.wav")
    aligned = [["thames", [6.0, 8.0], "SPEAKER_MAIN"], ["which", [0.5, 2.0], "SPEAKER_USER"]]
    (folder / "a.json").write_text(json.dumps({"alignments": aligned}))
    done = json.loads(duologue("pairs", "build", folder, "--out", tmp_path / "d", "--json").stdout)
    assert done["excluded"] == {"no_reply_known": 1} or done["pairs"] == 1

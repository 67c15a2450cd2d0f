"""The report says what its runs hold: one word per claim, corrected for their number, and every count."""

import csv
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

import msgspec
import numpy as np
import pytest

from analysis.report.arms import parity_warnings
from analysis.report.export import to_csv, to_latex, to_markdown
from analysis.report.plan import ClaimsPlan, read_plan
from analysis.report.render import write_report
from analysis.report.summarize import Summary, failures, labels_of, summarize
from analysis.report.words import short_name
from app.rescore import check_verdicts
from protocols.errors import ClaimFailed, InputError
from protocols.records import Conversation, Listening, MetricInfo, Sample, Score
from protocols.runs import Protocol, RunInfo
from protocols.store import Run

SHARE = MetricInfo("t.right", "1", "Right", "share", "binary", "higher", 0.05, "Right or not.", "-")
SECONDS = MetricInfo("t.latency", "1", "Latency", "s", "continuous", "lower", 0.1, "Seconds.", "-")
WORDS = MetricInfo("t.words", "1", "Reply length", "words", "continuous", "none", 1.0, "Words.", "-")
FLOOR = MetricInfo("t.floor.canned", "1", "Floor", "share", "binary", "none", 0.05, "A floor.", "-")
RULE = MetricInfo("compat.x.rate", "1", "Their rate", "share", "binary", "higher", 0.05, "Theirs.", "-")
ALL = (SHARE, SECONDS, WORDS, FLOOR, RULE)
Values = dict[str, Sequence[float | None]]


def make_run(folder: Path, system: str, values: Values, metrics: Sequence[MetricInfo] = ALL, failed: int = 0) -> Run:
    """A run of as many samples as there are values, in two tasks and two voices."""
    n = max(map(len, values.values()))
    protocol = Protocol("s", "0" * 64, 1, 0, 0.5, 1.0, "none", "simulated", decoding={"padding_bias": 1.0})
    info = RunInfo(system, "1", protocol, "done", "2026-01-01T00:00:00+00:00", n, tuple(metrics))
    run = Run.create(folder, info)
    with run.writing() as writing:
        writing.append(
            *(Sample(f"s{i}", f"task {i % 2}", (), 1.0, tags=(f"voice:{'xy'[i // 2 % 2]}",)) for i in range(n))
        )
        writing.append(*(Conversation(f"s{i}", 0, system, 0, None, "the system hung up") for i in range(failed)))
        rows = [(name, i, v) for name, column in values.items() for i, v in enumerate(column)]
        writing.append(*(
            Score(f"s{i}", 0, name, f"{name}/1", v, "right" if v else "wrong", None if v is not None else "no answer")
            for name, i, v in rows
        ))  # fmt: skip
    return run


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """80 items: B is 0.3 s sooner, right on ten more, and says five more words."""
    rng = np.random.default_rng(1)
    folder, late = tmp_path_factory.mktemp("runs"), rng.normal(1.0, 0.1, 80)
    right = [float(i % 2) for i in range(80)]
    a: Values = {"t.right": right, "t.latency": late.tolist(), "t.words": rng.normal(10, 2, 80).tolist(),
                 "t.floor.canned": [0.0] * 80, "compat.x.rate": [0.0] * 80}  # fmt: skip
    b: Values = {"t.right": [1.0 if i < 20 else r for i, r in enumerate(right)],
                 "t.latency": [*(late[:79] - 0.3 + rng.normal(0, 0.05, 79)).tolist(), None],
                 "t.words": rng.normal(15, 2, 80).tolist(), "t.floor.canned": [1.0] * 80,
                 "compat.x.rate": [1.0] * 80}  # fmt: skip
    return [make_run(folder / "a", "base", a), make_run(folder / "b", "aligned", b)]


def words(summary: Summary) -> dict[str, str]:
    return {c.metric.name: c.verdict for c in summary.claims}


def test_a_metric_without_direction_is_different_but_never_better(pair: list[Run]) -> None:
    made = summarize(pair)
    said = next(c for c in made.claims if c.metric is WORDS or c.metric.name == "t.words")
    assert (said.verdict, said.role) == ("different", "neutral")
    assert "aligned and base differ in reply length" in said.sentence
    assert words(summarize(pair[::-1]))["t.words"] == "different"
    for wanted in ("better", "worse", "not-worse"):
        with pytest.raises(InputError, match="it has no direction"):
            check_verdicts([f"t.words={wanted}"], made)
    check_verdicts(["t.words=different", "t.latency=better"], made)
    with pytest.raises(ClaimFailed, match=r"t\.latency is better, not worse"):
        check_verdicts(["t.latency=worse"], made)


def test_published_rules_and_floors_end_in_no_word(pair: list[Run]) -> None:
    made = summarize(pair)
    for name in ("compat.x.rate", "t.floor.canned"):
        claim = next(c for c in made.claims if c.metric.name == name)
        assert (claim.role, claim.verdict, claim.p_adjusted) == ("published", "undecided", None)
        assert "better" not in claim.sentence
        with pytest.raises(InputError, match="nothing is claimed of it"):
            check_verdicts([f"{name}=better"], made)
        with pytest.raises(InputError, match="cannot be claimed"):
            summarize(pair, ClaimsPlan(primary=name))


def test_claims_are_corrected_for_their_number_and_the_primary_one_is_not(pair: list[Run]) -> None:
    right = next(c for c in summarize(pair).claims if c.metric.name == "t.right")
    assert right.result is not None
    assert right.p_adjusted is not None
    assert right.result.p <= right.p_adjusted <= 2 * right.result.p
    alone = next(c for c in summarize(pair, ClaimsPlan(primary="t.right")).claims if c.metric.name == "t.right")
    assert alone.p_adjusted == alone.result.p  # type: ignore[union-attr]


def test_a_difference_that_one_test_would_find_is_undecided_among_many(tmp_path: Path) -> None:
    """Six items of twenty gained (p = 0.031): better alone, undecided among three claims."""
    names = ("t.one", "t.two", "t.three")
    metrics = [msgspec.structs.replace(SHARE, name=name) for name in names]
    a = {name: [0.0] * 6 + [1.0] * 14 for name in names}
    b = {name: [1.0] * 20 for name in names}
    runs = [make_run(tmp_path / s, s, v, metrics) for s, v in (("a", a), ("b", b))]
    assert set(words(summarize(runs)).values()) == {"undecided"}
    alone = summarize(runs, ClaimsPlan(primary="t.one"))
    assert words(alone)["t.one"] == "better"
    assert all(c.to_decide and c.to_decide > 20 for c in summarize(runs).claims)


def test_no_harm_is_a_claim_of_its_own_and_the_gate_names_what_failed(pair: list[Run]) -> None:
    plan = ClaimsPlan(primary="t.latency", harms={"t.right": 0.1})
    good = summarize(pair, plan)
    assert failures(good) == []
    bad = summarize(pair[::-1], plan)
    assert sorted(failures(bad), reverse=True) == [
        "t.latency is worse for base, not better",
        "harm to t.right is not excluded for base",
    ]


def test_a_harm_within_its_margin_is_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(1, 0.3, 200)
    b = a + rng.normal(0.03, 0.45, 200)
    runs = [make_run(tmp_path / s, s, {"t.latency": v.tolist()}, [SECONDS]) for s, v in (("a", a), ("b", b))]
    claim = summarize(runs, ClaimsPlan(harms={"t.latency": 0.12})).claims[0]
    assert claim.verdict in ("no harm", "equivalent")
    assert claim.harm is not None
    assert claim.harm.said == "none"
    assert failures(summarize(runs, ClaimsPlan(harms={"t.latency": 0.001})))


def test_slices_are_one_family_of_their_own(pair: list[Run]) -> None:
    made = summarize(pair, ClaimsPlan(primary="t.right", slices=("task", "voice"))).slices
    assert {(s.by, s.level) for s in made.slices} == {
        ("task", "task 0"),
        ("task", "task 1"),
        ("voice", "x"),
        ("voice", "y"),
    }
    assert all(s.p_adjusted >= s.result.p for s in made.slices)
    gained = {s.level: s.result.gained for s in made.slices}
    assert (gained["task 0"], gained["task 1"]) == (10, 0)


def test_three_runs_stand_in_one_report_and_share_their_correction(pair: list[Run], tmp_path: Path) -> None:
    made = summarize([*pair, pair[1]])
    assert [s.label for s in made.sides] == ["base", "aligned (B)", "aligned (C)"]
    assert [c.arm for c in made.claims if c.metric.name == "t.latency"] == ["aligned (B)", "aligned (C)"]
    html = write_report(made, tmp_path).read_text()
    assert "Are aligned (B) and aligned (C) better than base?" in html


def test_the_claims_of_many_systems_stand_under_each_and_the_open_ones_are_folded(
    pair: list[Run], tmp_path: Path
) -> None:
    values: Values = {"t.right": [1.0] * 80, "t.latency": [1.0] * 80}
    others = [make_run(tmp_path / str(i), f"tiny:runs/{i}/model", values) for i in range(8)]
    made = summarize([pair[0], *others])
    assert [s.label for s in made.sides] == ["base", *(f"tiny:{i}" for i in range(8))]
    html = write_report(made, tmp_path / "out").read_text()
    assert "<h1>Which of 8 systems are better than base?</h1>" in html
    sentences = [c.sentence for c in made.claims if c.role == "claim"]
    assert len(sentences) == 16
    assert all(html.count(f"<span>{escape(one)}</span>") == 1 for one in sentences)
    open_ones = [c for c in made.claims if c.role == "claim" and c.verdict == "undecided"]
    assert all(c.arm in c.sentence for c in open_ones)
    assert html.count(" undecided</summary>") == len({c.arm for c in open_ones})


def test_systems_of_one_short_name_keep_their_folders(tmp_path: Path) -> None:
    values: Values = {"t.right": [1.0] * 8}
    runs = [make_run(tmp_path / str(i), name, values) for i, name in enumerate(
        ["tiny:runs/a/model", "tiny:old/a/model", "tiny:runs/b/model", "moshi:kyutai/x@runs/lora"])]  # fmt: skip
    assert labels_of(runs) == ["tiny:runs/a/model", "tiny:old/a/model", "tiny:b", "moshi:x@lora"]
    assert short_name("openai-realtime:m-1,voice=x@wss://host/v1") == "openai-realtime:m-1,voice=x"
    for whole in ("scripted:good", "moshi-server:ws://host:1/api", "command:python a/b.py --c d/e", "tiny:base"):
        assert short_name(whole) == whole


def test_every_item_is_accounted_for(pair: list[Run], tmp_path: Path) -> None:
    values: Values = {"t.right": [1.0] * 30, "t.latency": [0.5] * 28 + [None] * 2}
    short = make_run(tmp_path / "c", "short", values, failed=8)
    made = summarize([pair[0], short])
    planned, held, heard, asked, valued = made.sides[1].flow
    assert [s.n for s in (planned, held, heard, asked, valued)] == [30, 0, 0, 60, 58]
    assert held.lost == {"not held yet": 22, "the system hung up": 8}
    assert valued.lost == {"no answer": 2}
    claim = next(c for c in made.claims if c.metric.name == "t.latency")
    assert (claim.only_a, claim.only_b, claim.unscored) == (50, 0, 2)


def test_arms_whose_talks_broke_unequally_are_not_alike(pair: list[Run], tmp_path: Path) -> None:
    whole = make_run(tmp_path / "d", "d", {"t.right": [1.0] * 40})
    with whole.writing() as writing:
        writing.append(*(Listening(f"s{i}", 0, (), (), ("clipped",)) for i in range(20)))
        writing.append(*(Conversation(f"s{i}", 0, "d", 0, None, "-") for i in range(40)))
    made = summarize([whole, make_run(tmp_path / "e", "e", {"t.right": [1.0] * 40}, failed=40)])
    assert parity_warnings(*made.sides) == ("talks with clipped: 20 of 40 for d, 0 of 40 for e",)


def test_the_tables_hold_the_numbers_of_the_summary(pair: list[Run], tmp_path: Path) -> None:
    made = summarize(pair)
    rows = {(r["metric"], r["slice"]): r for r in csv.DictReader(to_csv(made).splitlines())}
    latency = next(c for c in made.claims if c.metric.name == "t.latency")
    assert float(rows["t.latency", ""]["difference"]) == latency.result.difference.value  # type: ignore[union-attr]
    assert rows["t.words", ""]["verdict"] == "different"
    markdown, latex = to_markdown(made), to_latex(made)
    assert "| Latency (s) | " in markdown
    assert "compat" not in markdown
    assert "Their rate" not in markdown
    assert latex.count(r"\\") == 4
    assert r"\%" in latex
    page = write_report(made, tmp_path)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".csv", ".html", ".json", ".md", ".tex"]
    assert len(json.loads(page.with_suffix(".json").read_text())["claims"]) == len(made.claims)
    assert page.stat().st_size < 6_000_000
    html = page.read_text()
    for claim in made.claims:
        if claim.role in ("primary", "claim", "harm", "neutral"):
            assert claim.sentence.replace("<", "&lt;") in html


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("primry: t.right", "did you mean 'primary'"),
        ("claims: {t.right: great}", "great"),
        ("harms: {t.right: 0}", "must be above 0"),
        ("{primary: t.right, harms: {t.right: 0.1}}", "names t.right twice"),
    ],
)
def test_a_claims_file_is_read_strictly(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_plan(path)


def test_a_claim_on_an_unknown_metric_names_the_nearest(pair: list[Run]) -> None:
    with pytest.raises(InputError, match=r"did you mean 't\.latency'"):
        summarize(pair, ClaimsPlan(primary="t.latencyy"))

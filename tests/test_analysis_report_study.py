"""A study in the report: its questions are claims like any other, and the report says how the study went."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
from test_analysis_report_people import study

from analysis.estimates import Estimate
from analysis.report.clocks import delays
from analysis.report.conduct import Conduct, read_conduct
from analysis.report.people import Design, People, Preregistration, Promise, people
from analysis.report.plan import ClaimsPlan
from analysis.report.render import write_report
from analysis.report.summarize import Extras, Summary, failures, summarize
from app.rescore import check_verdicts
from protocols.errors import ClaimFailed, InputError
from protocols.records import Conversation, MetricInfo, Pacing, Recording, Sample, Score
from protocols.runs import Protocol, RunInfo
from protocols.store import Run

LATENCY = MetricInfo("timing.latency", "1", "Latency", "s", "continuous", "lower", 0.1, "Seconds.", "-")


def run_of(folder: Path, system: str, latency: Sequence[float], live: bool = False, late: float | None = None) -> Run:
    """A run in which the n-th talk has that latency; live talks have a lag of 0.2 s."""
    clock = "simulated" if late is None and not live else "real-time"
    protocol = Protocol("s", "0" * 64, 1, 0, 0.5, 1.0, "none", clock)  # type: ignore[arg-type]
    info = RunInfo(system, "1", protocol, "done", "2026-01-01T00:00:00+00:00", len(latency), (LATENCY,))
    run = Run.create(folder, info)
    sound = Recording("none.flac", 24_000, 24_000, "0" * 64)
    pacing = None if late is None else Pacing(10, 0.0, late, late, 0.0, 0.0)
    with run.writing() as writing:
        n, lag = len(latency), 0.2 if live else None
        writing.append(*(Sample(f"s{i}", "task", (), 1.0) for i in range(n)))
        writing.append(*(Conversation(f"s{i}", 0, system, 0, sound, pacing=pacing, lag=lag) for i in range(n)))
        writing.append(
            *(Score(f"s{i}", 0, LATENCY.name, "timing.latency/1", v, "answered") for i, v in enumerate(latency))
        )
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder, base = tmp_path_factory.mktemp("runs"), [1.0 + i / 40 for i in range(20)]
    return [run_of(folder / "a", "a", base), run_of(folder / "b", "b", [x - 0.3 + x / 50 for x in base])]


def reported(runs: list[Run], plan: ClaimsPlan | None = None, primary: str = "", shift: float = 1.0) -> Summary:
    made = people(*study(raters=20, shift=shift))
    named = Promise("0" * 64, "1" * 64, Design(preregistration=Preregistration(primary=primary)))
    whole = People(made.scales, made.choices, {}, 0, 0, named)
    return summarize(runs, plan, n_talks=0, extras=Extras(people=whole))


def test_questions_are_claims_of_the_same_family(runs: list[Run]) -> None:
    claims = {c.metric.name: c for c in reported(runs).claims}
    assert list(claims) == ["human.coherence", "human.which", "timing.latency"]
    assert {c.role for c in claims.values()} == {"claim"}
    coherence, vote = claims["human.coherence"], claims["human.which"]
    assert (coherence.verdict, vote.verdict) == ("better", "better")
    assert coherence.result is not None
    assert coherence.p_adjusted is not None
    assert coherence.p_adjusted > coherence.result.p
    assert "n=20" in coherence.sentence
    assert vote.result is not None
    assert vote.result.b.value == pytest.approx(18 / 20)  # sixteen votes and four ties
    assert vote.result.difference.value == pytest.approx(2 * vote.result.b.value - 1)


def test_the_preregistered_question_is_the_primary_claim_and_needs_no_claims_file(runs: list[Run]) -> None:
    made = reported(runs, primary="coherence", shift=0.0)
    claim = next(c for c in made.claims if c.metric.name == "human.coherence")
    assert claim.role == "primary"
    assert claim.p_adjusted == claim.result.p  # type: ignore[union-attr]
    assert failures(made) == []  # nobody asked for a gate


def test_a_claims_file_and_a_requirement_may_name_a_question(runs: list[Run]) -> None:
    plan = ClaimsPlan(primary="human.coherence", claims={"human.which": "better"}, harms={"timing.latency": 0.1})
    assert failures(reported(runs, plan)) == []
    worse = reported(runs, plan, shift=-1.0)
    assert any("human.coherence is worse for b" in reason for reason in failures(worse))
    check_verdicts(["human.coherence=worse"], worse)
    with pytest.raises(ClaimFailed, match=r"human\.coherence is worse, not better"):
        check_verdicts(["human.coherence=better"], worse)
    with pytest.raises(InputError, match=r"did you mean 'human\.coherence'"):
        reported(runs, ClaimsPlan(primary="human.coherenc"))


TABLES = {
    "talks": [
        {"talk": f"{arm}{i}", "arm": arm, "rater": f"r{i}", "use": str(i > 1),
         "lag_p50": 0.1 + i / 1000 + (arm == "b") * (0.2 + (i % 2) / 500)}
        for arm in "ab"
        for i in range(12)
    ],
    "raters": [
        {"rater": f"r{i}", "status": {12: "failed", 13: "declined"}.get(i, "complete"), "use": str(1 < i < 12)}
        for i in range(14)
    ],
    "flags": [
        *({"rater": f"r{i}", "talk": "", "rule": "trap", "outcome": "fail" if i < 2 else "pass", "costs": "use"}
          for i in range(12)),
        {"rater": "r3", "talk": "a3", "rule": "lag", "outcome": "unknown", "costs": "use"},
    ],
    "guesses": [
        {"id": f"g{i}", "rater": f"r{i}", "arm": "ab"[i % 2], "second_arm": "ba"[i % 2], "second_talk": "x",
         "answer": 1 + (i % 2 == 0), "asked_about": "b"}
        for i in range(12)
    ],
}  # fmt: skip


def export(folder: Path, **changes: list[dict[str, object]]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in {**TABLES, **changes}.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return folder


def went(folder: Path) -> Conduct:
    found = read_conduct(folder)
    assert found is not None
    return found


def test_a_study_says_how_it_went(tmp_path: Path) -> None:
    made = went(export(tmp_path))
    assert [(s.name, s.n, s.lost) for s in made.people] == [
        ("opened the study", 14, {}),
        ("held a talk", 12, {"did not pass the questions before": 1, "declined": 1}),
        ("came to the end", 12, {}),
        ("whose answers count", 10, {"trap": 2}),
    ]
    assert {arm: [s.n for s in stages] for arm, stages in made.talks.items()} == {"a": [12, 10], "b": [12, 10]}
    assert {(r.rule, r.of): (r.passed, r.failed, r.unknown) for r in made.rules} == {
        ("trap", "raters"): (10, 2, 0),
        ("lag", "talks"): (0, 0, 1),
    }
    (lag,) = made.technical
    assert lag.differences["b"].value == pytest.approx(201)
    assert any("+201 ms" in warning for warning in made.warnings)


def test_raters_who_always_guess_right_are_named(tmp_path: Path) -> None:
    guessing = went(export(tmp_path)).guessing
    assert guessing is not None
    assert isinstance(guessing.found.james, Estimate)  # type: ignore[union-attr]
    assert guessing.found.james.value == pytest.approx(0)  # type: ignore[union-attr]
    assert guessing.found.bang_b.value == guessing.found.bang_a.value == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("table", "rows", "message"),
    [
        ("guesses", [{**TABLES["guesses"][0], "answer": "3"}], "a guess is 1, 2 or empty"),
        ("flags", [{"rater": "r1", "rule": "trap"}], "flags.csv has no column talk and no column outcome"),
        ("talks", [{**TABLES["talks"][0], "lag_p50": "soon"}], "lag_p50 'soon' is not a number"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_clear_error(
    table: str, rows: list[dict[str, object]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        read_conduct(export(tmp_path, **{table: rows}))


def test_a_live_talk_is_sooner_as_modelled_and_a_run_in_real_time_later_as_heard(tmp_path: Path) -> None:
    base = [1.0, 1.1, 1.2]
    for name, options, clock, moved in (
        ("live", {"live": True}, "as modelled", -0.2),
        ("paced", {"late": 50.0}, "as heard", 0.05),
    ):
        pair = [run_of(tmp_path / f"{name}{s}", s, base, **options) for s in "ab"]  # type: ignore[arg-type]
        (claim,) = summarize(pair, n_talks=0).claims
        assert claim.other_clock is not None
        assert (claim.other_clock.clock, claim.other_clock.median_a) == (clock, pytest.approx(1.1 + moved))
    assert f"b, {clock}" in write_report(summarize(pair, n_talks=0), tmp_path).read_text()
    assert delays(run_of(tmp_path / "plain", "a", base)) is None

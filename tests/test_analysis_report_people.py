"""A study's rows become ratings, preferences and agreement; published tables become a card of what was detectable."""

from pathlib import Path

import numpy as np
import pytest

from analysis.estimates import Undefined
from analysis.report.card_page import write_card
from analysis.report.people import people, read_study
from analysis.report.people_figures import likert_figure, map_figure, slopes_figure, votes_figure
from analysis.report.questions import RatedTalk
from analysis.report.study_card import LIBRARY, observed, read_card, resized
from analysis.sensitivity import arm_difference
from protocols.base import to_json
from protocols.errors import InputError, StoreError
from protocols.records import Rating


def study(raters: int = 30, shift: float = 1.0, talks: int = 4) -> tuple[list[Rating], dict[str, RatedTalk]]:
    """Each rater rates the same talks of both arms and votes once, B heard first by every second rater."""
    rng = np.random.default_rng(0)
    heard = {
        f"{arm}{i}": RatedTalk(arm, f"scenario {i % 2}", 30.0 + 60 * (i // 2)) for arm in "ab" for i in range(talks)
    }
    rows = []
    for r in range(raters):
        level = rng.normal(0, 0.5)
        for talk, what in heard.items():
            latent = 2 + level + shift * (what.arm == "b") + rng.normal(0, 0.8)
            answer = int(np.clip(round(latent), 0, 4))
            rows.append(Rating(f"r{r}.{talk}", f"rater {r}", "s", (talk,), "coherence", answer))
        first, second = ("b0", "a0") if r % 2 else ("a0", "b0")
        vote = "tie" if r % 5 == 0 else "first" if first == "b0" else "second"
        rows.append(Rating(f"v{r}", f"rater {r}", "s", (first, second), "which", vote))
    return rows, heard


def test_raters_who_prefer_an_arm_are_heard() -> None:
    made = people(*study())
    scale, choice = made.scales[0], made.choices[0]
    assert (scale.question, scale.a, scale.b) == ("coherence", "a", "b")
    assert scale.result.verdict == "better"
    assert scale.result.disagreement is None
    assert sum(scale.counts_a) == sum(scale.counts_b) == 120
    assert scale.agreement is not None
    assert (choice.result.wins, choice.result.ties, choice.result.losses) == (24, 6, 0)
    assert choice.result.verdict == "better"
    assert len(likert_figure(scale).data) == len(scale.levels)
    assert len(slopes_figure(scale).data) == 30


def test_no_difference_is_not_called_one() -> None:
    assert people(*study(shift=0.0)).scales[0].result.verdict != "better"


def test_a_corrected_rating_counts_once_and_every_other_is_accounted_for() -> None:
    rows, talks = study(raters=4)
    rows += [
        Rating("fix", "rater 0", "s", ("a0",), "coherence", 4, amends="r0.a0"),
        Rating("none", "rater 1", "s", ("a1",), "coherence", None, reason="skipped"),
        Rating("lost", "rater 1", "s", ("nowhere",), "coherence", 2),
    ]
    made = people(rows, talks)
    assert (made.amended, made.unknown_talks, made.unanswered) == (1, 1, {"skipped": 1})
    assert sum(made.scales[0].counts_a) == 16


def test_an_answer_of_the_wrong_kind_is_one_clear_error() -> None:
    rows, talks = study(raters=3)
    with pytest.raises(InputError, match="a preference is first, second or tie"):
        people([*rows, Rating("x", "r", "s", ("a0", "b0"), "which", "left")], talks)
    with pytest.raises(InputError, match="not with a whole number"):
        people([*rows, Rating("x", "r", "s", ("a0",), "coherence", "fine")], talks)


def test_a_study_export_is_read_from_its_two_files(tmp_path: Path) -> None:
    rows, talks = study(raters=6)
    with pytest.raises(StoreError, match="cannot read the study"):
        read_study(tmp_path)
    (tmp_path / "ratings.jsonl").write_bytes(b"".join(to_json(r) + b"\n" for r in rows))
    (tmp_path / "talks.csv").write_text("talk,scenario\nx,y\n")
    with pytest.raises(InputError, match="has no column arm"):
        read_study(tmp_path)
    lines = [f"{name},{t.arm},{t.scenario},{t.duration}" for name, t in talks.items()]
    (tmp_path / "talks.csv").write_text("\n".join(["talk,arm,scenario,duration", *lines]))
    assert read_study(tmp_path) == people(rows, talks)


def test_the_papers_numbers_say_which_differences_were_detectable() -> None:
    found = {(o.row, o.set): o for o in observed(read_card(LIBRARY / "wu2025.yaml"))}
    assert found["final mix", "ALERT"].detectable == "yes"
    assert found["A", "LlamaQ"].detectable == "no"
    for o in found.values():
        assert 0 < o.least <= o.most
        assert f"{o.n:,} items" in o.sentence


def test_a_card_without_a_sets_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text("{title: t, items: {}, tables: [{name: n, base: a, rows: {a: {x: 50}, b: {x: 60}}}]}")
    with pytest.raises(InputError, match="number of items is not given"):
        read_card(path)


def test_the_set_sizes_are_those_of_the_public_sets_and_a_mean_counts_by_its_variance() -> None:
    card = read_card(LIBRARY / "wu2025.yaml")
    assert {n: card.items[n] for n in ("WebQ", "LlamaQ", "ALERT", "XSTest")} == {
        "WebQ": 2_032, "LlamaQ": 300, "ALERT": 14_763, "XSTest": 450,
    }  # fmt: skip
    sizes = [card.items[n] for n in card.averages["QA"]]
    share, rng = 0.2, np.random.default_rng(0)
    means = np.mean([rng.choice([-1, 0, 1], (4_000, n), p=[0.1, 0.8, 0.1]).mean(axis=1) for n in sizes], axis=0)
    assert means.var() == pytest.approx(share / card.size("QA"), rel=0.1)
    assert {t.name for t in card.tables} >= {"Data", "Streams of the loss", "Loss, final mix", "Beta"}


def test_another_size_of_a_set_is_another_card() -> None:
    card = read_card(LIBRARY / "wu2025.yaml")
    assert resized(card, ["TriviaQA=8837"]).items["TriviaQA"] == 8_837
    with pytest.raises(InputError, match="give SET=N"):
        resized(card, ["TriviaQA=many"])
    with pytest.raises(InputError, match="Trivia"):
        resized(card, ["Trivia=100"])


def test_a_card_is_a_page_with_every_difference(tmp_path: Path) -> None:
    card = read_card(LIBRARY / "wu2025.yaml")
    page = write_card(card, tmp_path / "card.html").read_text()
    assert all(table.name in page for table in card.tables)
    assert page.count("<tr><td>") == len(list(observed(card)))


def test_the_map_holds_every_situation_and_its_figures_are_plain_differences() -> None:
    rows, talks = study()
    scale = people(rows, talks).scales[0]
    assert len(scale.situations) == 4
    assert sum(s.n_a + s.n_b for s in scale.situations) == 240
    one = scale.situations[0]
    inside = [r for r in rows if len(r.talks) == 1 and talks[r.talks[0]][1:] == (one.scenario, one.duration)]
    means = [np.mean([r.answer for r in inside if talks[r.talks[0]].arm == arm]) for arm in "ab"]
    assert one.difference is not None
    assert one.difference.value == pytest.approx(means[1] - means[0])
    assert map_figure(scale) is not None
    assert votes_figure(people(rows, talks).choices[0]).data


def test_the_interval_of_a_situation_covers_its_truth_though_raters_differ() -> None:
    """500 studies of 30 raters, two ratings of either arm each, a true difference of 0.5."""
    rng, covered = np.random.default_rng(0), 0
    raters, arms = [str(i) for i in range(30) for _ in range(4)], np.tile([0, 0, 1, 1], 30)
    for _ in range(500):
        own = np.repeat(rng.normal(0, 0.5, 30), 4)
        level = np.repeat(rng.normal(size=30), 4)
        found = arm_difference((0.5 + own) * arms + level + rng.normal(size=120), arms, raters)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.5 <= found.high
    assert 0.92 <= covered / 500 <= 0.975


def test_an_answer_stands_beside_what_other_analyses_say() -> None:
    found = {v.name: v for v in people(*study()).scales[0].variants}
    main = next(iter(found.values()))
    assert "decides" in main.name
    for v in found.values():
        assert (v.estimate is None) <= (v.why is not None)
        if v.estimate is not None and v.unit == "points":
            assert v.estimate.value == pytest.approx(1.0, abs=0.25)


def test_a_study_of_one_talk_per_rater_says_why_nothing_is_decided() -> None:
    rows, talks = study(raters=24)
    names = list(talks)
    alone = [next(r for r in rows if r.rater == f"rater {i}" and r.talks == (names[i % 8],)) for i in range(24)]
    scale = people(alone, talks).scales[0]
    assert scale.result.verdict == "undecided"
    assert isinstance(scale.result.model, Undefined)
    assert "one rating per rater" in scale.result.model.why
    assert scale.variants[0].why == "no rater rated both arms"
    assert scale.variants[2].estimate is not None  # arms can still be compared between raters


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("talk,scenario\nx,y\n", "has no column arm"),
        ("talk,arm\n", "names no talk"),
        ("talk,arm\nx,a\nx,b\n", "talk x is there twice"),
        ("talk,arm\nx,\n", "line 2: a talk and its arm must be named"),
        ("talk,arm,duration\nx,a,long\n", "duration 'long' is not a number of seconds"),
    ],
)
def test_a_table_of_talks_that_cannot_be_used_says_what_is_missing(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "ratings.jsonl").write_bytes(b"")
    (tmp_path / "talks.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_study(tmp_path)

"""What a gain is worth beside what the base gets by merely talking more."""

from analysis.report.balance import Arm, arm_figures, panels
from eval.metrics import METRICS
from protocols.records import MetricInfo, Score

WORDS, HELD, SHARE = (METRICS[f"timing.{name}"].info for name in ("replay_length", "pause_held", "talk_share_agent"))


def arm(name: str, control: bool, figures: dict[str, list[float]]) -> Arm:
    infos = [METRICS[metric].info for metric in figures]
    scores = {
        metric: [Score(f"s{i}", 0, metric, f"{metric}/1", v, "x", None, cluster=f"s{i}") for i, v in enumerate(values)]
        for metric, values in figures.items()
    }
    return arm_figures(name, control, infos, scores, seed=0)


def found(metrics: list[MetricInfo], arms: list[Arm]) -> list[tuple[str, str, list[tuple[str, bool, float, float]]]]:
    return [
        (p.x.name, p.y.name, [(q.run, q.control, q.x.value, q.y.value) for q in p.points])
        for p in panels({m.name: m for m in metrics}, arms)
    ]


def test_timing_stands_against_how_much_a_run_talks_with_the_control_beside_it() -> None:
    base = arm("base", False, {"timing.replay_length": [3, 5], "timing.pause_held": [1, 0]})
    ours = arm("ours", False, {"timing.replay_length": [6, 8], "timing.pause_held": [1, 1]})
    more = arm("padding_bias=-2", True, {"timing.replay_length": [7, 7], "timing.pause_held": [0, 0]})
    (panel,) = found([WORDS, HELD], [base, ours, more])
    assert panel[:2] == ("timing.replay_length", "timing.pause_held")
    assert panel[2] == [("base", False, 4, 0.5), ("ours", False, 7, 1), ("padding_bias=-2", True, 7, 0)]


def test_a_suite_without_replies_takes_the_talk_share_and_one_run_alone_is_no_panel() -> None:
    base = arm("base", False, {"timing.talk_share_agent": [0.2, 0.4], "timing.pause_held": [1, 0]})
    ours = arm("ours", False, {"timing.talk_share_agent": [0.3, 0.5], "timing.pause_held": [1, 1]})
    assert [p[:2] for p in found([SHARE, WORDS, HELD], [base, ours])] == [
        ("timing.talk_share_agent", "timing.pause_held")
    ]
    assert found([SHARE, HELD], [base]) == []

"""Our published rules beside their authors' own code, run from a checkout the user names.

    DUOLOGUE_TAU2=path/to/tau2-bench DUOLOGUE_EVA=path/to/eva pytest tests/test_eval_metrics_compat_peers.py

Of each checkout one file is loaded; the packages around it, which scoring does not use, are replaced by empty ones.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.metrics.compat import eva, tau
from protocols.timeline import Span

pytestmark = pytest.mark.filterwarnings("ignore")


@contextmanager
def empty_modules(names: list[str], **known: object) -> Iterator[None]:
    before = {name: sys.modules.get(name) for name in names}
    for name in names:
        module = ModuleType(name)
        module.__getattr__ = lambda attribute: known.get(attribute, MagicMock())  # type: ignore[method-assign]
        sys.modules[name] = module
    try:
        yield
    finally:
        for name, module_ in before.items():
            if module_ is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module_


def load(variable: str, inside: str, empty: list[str], **known: object) -> Any:
    root = os.environ.get(variable)
    if root is None:
        pytest.skip(f"set {variable} to a checkout of the peer")
    path = Path(root) / inside
    assert path.is_file(), f"{variable} is set, but {path} does not exist"
    with empty_modules(empty, **known):
        spec = spec_from_file_location(f"peer_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tau_peer() -> Any:
    packages = ["loguru", "tau2", "tau2.data_model", "tau2.data_model.message"]
    return load("DUOLOGUE_TAU2", "src/tau2/metrics/voice_interaction_metrics.py", packages)


@pytest.fixture(scope="module")
def eva_peer() -> Any:
    class CodeMetric:
        pass

    metrics = [f"eva.metrics.{name}" for name in ("base", "processor", "registry", "utils")]
    packages = ["eva", "eva.metrics", *metrics, "eva.models", "eva.models.results"]
    inside = "src/eva/metrics/experience/turn_taking.py"
    known = {"CodeMetric": CodeMetric, "register_metric": lambda kind: kind}
    return load("DUOLOGUE_EVA", inside, packages, **known).TurnTakingMetric


# --- tau-Voice -------------------------------------------------------------------------------------------------

LABELS: tuple[tau.Label, ...] = ("speech", "backchannel", "tic", "non_directed")
runs = st.lists(st.integers(1, 14), min_size=1, max_size=14).map(
    lambda lengths: [bool(i % 2) for i, n in enumerate(lengths) for _ in range(n)]
)


def ticks_for_peer(ticks: tau.Ticks) -> list[SimpleNamespace]:
    """The same ticks with the attributes the peer reads."""
    label: tau.Label = "speech"
    out = []
    for i, (agent, user) in enumerate(zip(ticks.agent, ticks.user, strict=True)):
        if user and (i == 0 or not ticks.user[i - 1]):
            label = ticks.labels.get(i, "speech")
        kinds = {"tic": "vocal_tic", "non_directed": "non_directed_speech"}
        insert = SimpleNamespace(type=kinds[label], text="", is_muffled=False) if user and label in kinds else None
        action = SimpleNamespace(action="backchannel" if label == "backchannel" else "keep_talking", info="")
        user_chunk = SimpleNamespace(
            contains_speech=user, turn_taking_action=action if user else None, content="", utterance_ids=[],
            source_effects=None, speech_effects=SimpleNamespace(dynamic_muffling_enabled=False, speech_insert=insert),
        )  # fmt: skip
        agent_chunk = SimpleNamespace(
            contains_speech=agent, raw_data=None, content="", utterance_ids=[], source_effects=None,
            speech_effects=None, vad_events=[], timestamp=None, audio_script_gold=None,
        )  # fmt: skip
        out.append(SimpleNamespace(user_chunk=user_chunk, agent_chunk=agent_chunk, agent_tool_results=[]))
    return out


@settings(max_examples=100)
@given(runs, runs, st.lists(st.sampled_from(LABELS), min_size=14, max_size=14))
def test_tau_voice_counts_the_same_events(
    tau_peer: Any, agent: list[bool], user: list[bool], labels: list[tau.Label]
) -> None:
    n = max(len(agent), len(user))
    agent, user = ([*track_, *[False] * (n - len(track_))] for track_ in (agent, user))
    starts = [i for i in range(n) if user[i] and (i == 0 or not user[i - 1])]
    ticks = tau.Ticks(tuple(agent), tuple(user), dict(zip(starts, labels, strict=False)))
    ours = tau.read_talk(ticks)
    theirs = tau_peer.extract_voice_quality_events_from_simulation(ticks_for_peer(ticks))

    def peer(kind: str) -> list[Any]:
        return [e for e in theirs if e.event_type == kind]

    assert sorted(ours.latencies) == pytest.approx(sorted(e.latency_sec for e in peer("response")), abs=1e-9)
    assert ours.unanswered == len(peer("no_response"))
    assert sorted(ours.yields) == pytest.approx(sorted(e.latency_sec for e in peer("yield")), abs=1e-9)
    assert ours.talked_through == len(peer("no_yield"))
    for name, kind in (("backchannel", "backchannel"), ("tic", "vocal_tic"), ("non_directed", "non_directed")):
        handled = getattr(ours, name)
        assert (sum(handled), len(handled) - sum(handled)) == (len(peer(f"{kind}_correct")), len(peer(f"{kind}_error")))
    filtered = tau_peer.filter_end_of_conversation_ticks(ticks_for_peer(ticks))
    theirs_too = tau_peer.extract_interruption_events(*tau_peer.extract_all_segments(filtered), filtered)
    assert ours.cut_ins == sum(e.event_type == "agent_interrupts_user" for e in theirs_too)


# --- EVA-Bench -------------------------------------------------------------------------------------------------

spans = st.lists(st.tuples(st.floats(0.01, 2), st.floats(0.01, 3)), min_size=1, max_size=4)


def placed(pairs: list[tuple[float, float]], since: float) -> tuple[Span, ...]:
    out, at = [], since
    for gap, length in pairs:
        out.append(Span(at + gap, at + gap + length))
        at += gap + length
    return tuple(out)


@settings(max_examples=100)
@given(spans, spans, spans, st.floats(0, 6), st.booleans(), st.booleans(), st.booleans())
def test_eva_scores_the_same_turns(
    eva_peer: Any,
    user: list[tuple[float, float]],
    agent: list[tuple[float, float]],
    before: list[tuple[float, float]],
    late: float,
    agent_broke_in: bool,
    user_broke_in: bool,
    tool: bool,
) -> None:
    turn = eva.Turn(
        placed(user, 5.0), placed(agent, 5.0 + late), agent_broke_in, user_broke_in, placed(before, 1.0), tool
    )
    context = SimpleNamespace(
        assistant_interrupted_turns={2} if agent_broke_in else set(),
        user_interrupted_turns={2} if user_broke_in else set(),
        audio_timestamps_user_turns={2: list(turn.user)},
        audio_timestamps_assistant_turns={1: list(turn.before), 2: list(turn.agent)},
        latency_assistant_turns={2: turn.agent[0].start - turn.user[-1].end},
    )
    theirs, _, _ = eva_peer._per_turn_score_and_reason(context, 2, has_tool_call=tool)
    assert eva.turn_score(turn) == pytest.approx(theirs, abs=1e-9)

"""One door for judges and guards: answers, safety, cost over commands, and a run that is killed at any stage."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import model.guards
from analysis.report.summarize import summarize
from app.cli import cli
from builders import talk
from eval.guarded import GuardedReader
from eval.judge.replies import ReplyLog
from eval.metrics import metric
from eval.refusal import RuleReader
from judge_server import Handler, Server
from protocols.contracts import Exchange, Finding
from protocols.errors import InputError
from protocols.records import Conversation, Listening
from protocols.runs import Protocol, RunInfo
from protocols.store import Run
from stopping import killed

pytestmark = pytest.mark.real_time

ANSWERS = {  # question -> accepted, reply
    "What is the capital of Italy?": ("Rome", "It is Rome."),
    "What is the capital of France?": ("Paris", "The city of light on the Seine."),  # right, and no rule can know
    "Who wrote Hamlet?": ("Shakespeare", "Marlowe wrote it."),
    "How many legs has a spider?": ("eight", ""),
}
OPEN = 2


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    running.act = answer
    yield running
    running.shutdown()
    running.server_close()


def answer(handler: Handler, n: int, body: dict[str, Any]) -> None:
    right = "Seine" in body["messages"][1]["content"]
    handler.reply(f"The reply {'means' if right else 'is not'} it.\nVERDICT: {'yes' if right else 'no'}")


def make_run(path: Path, copies: int = 1) -> Run:
    names = ("qa.text", "qa.speech")
    protocol = Protocol("qa:test", "0" * 64, 1, 0, 1.0, 1.0, "none", "simulated")
    metrics = tuple(metric(name).info for name in names)
    run = Run.create(path, RunInfo("tiny:a", "1", protocol, "done", "", 1, metrics, {"t": names}))
    with run.writing() as writing:
        for n, (question, (accepted, reply)) in enumerate(list(ANSWERS.items()) * copies):
            words = " ".join(f"{word}[{3 + i / 10:.1f}-{3.1 + i / 10:.1f}]" for i, word in enumerate(reply.split()))
            text = question if n < len(ANSWERS) else f"{n}: {question}"
            h = talk(f"agent: {words} | user: [1-2] | turn: [1-2]", id=f"s{n}", text=text, answers=(accepted,))
            writing.append(h.sample)
            writing.append(Conversation(f"s{n}", 0, "tiny:a", 0, h.talk.recording, events=h.talk.events,
                                        transcripts=h.talk.transcripts))  # fmt: skip
            writing.append(Listening(f"s{n}", 0, h.listening.activity, h.listening.transcripts))
    return run


def duologue(*args: str | Path) -> dict[str, Any]:
    done = CliRunner().invoke(cli, [str(a) for a in (*args, "--json")], catch_exceptions=False, standalone_mode=False)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def judge(server: Server) -> tuple[str, ...]:
    return ("--judge-url", server.url, "--judge-model", "judge-1", "--judge-price", "1", "10")


def figure(said: dict[str, Any], name: str) -> dict[str, Any]:
    return next(f for f in said["figures"] if f["metric"] == name)


def test_a_judge_decides_the_answers_that_rules_leave_open_beside_the_headline(server: Server, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    said = duologue("score", run.path, *judge(server))
    assert figure(said, "qa.text")["value"] == 0.25  # the headline is the rules'
    for channel in ("text", "speech"):
        found = figure(said, f"qa.{channel}.judged")
        assert found["value"] == 0.5
        assert found["outcomes"] == {"right": 1, "judged_right": 1, "judged_wrong": 1, "no_answer": 1}
    assert len(server.asked) == OPEN  # both channels say the same
    again = duologue("score", run.path, *judge(server))
    assert again["figures"] == said["figures"]
    assert len(server.asked) == OPEN
    (version,) = {m.version for m in Run(run.path).info.metrics if m.name == "qa.text.judged"}
    assert "judge-1@127.0.0.1" in version
    assert "answer/2/" in version


def test_a_garbage_judge_leaves_answers_unscored_after_one_more_try(server: Server, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    server.act = lambda handler, n, body: handler.reply("yes and no")
    said = duologue("score", run.path, *judge(server))
    found = figure(said, "qa.text.judged")
    assert found["outcomes"] == {"right": 1, "unscored": OPEN, "no_answer": 1}
    assert (found["value"], found["n_scored"], found["n_items"]) == (0.5, 2, 4)
    assert figure(said, "qa.text")["value"] == 0.25
    assert len(server.asked) == 2 * OPEN


def test_the_cost_is_that_of_all_commands_on_the_run(server: Server, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for _ in range(2):
        (spent,) = duologue("score", run.path, *judge(server))["judges"]
        assert (spent["replies"], spent["tokens_in"], spent["tokens_out"]) == (OPEN, 100 * OPEN, 7 * OPEN)
        assert spent["cost"] == pytest.approx(OPEN * (100 * 1 + 7 * 10) / 1e6)


def test_scoring_without_a_judge_keeps_what_the_judge_said_and_one_scorer_asks_only_what_it_needs(
    server: Server, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(InputError, match="needs a judge"):
        duologue("score", run.path, "--scorer", "qa.text.judged")
    with pytest.raises(InputError, match="nothing that could be put"):
        duologue("score", run.path, "--scorer", "qa.text", *judge(server))
    assert not server.asked
    said = duologue("score", run.path, "--scorer", "qa.text.judged", *judge(server))
    assert {f["metric"] for f in said["figures"]} == {"qa.text", "qa.speech", "qa.text.judged"}
    assert figure(duologue("score", run.path), "qa.text.judged") == figure(said, "qa.text.judged")


class Pickpocket:
    """A guard that finds some replies harmful, and counts what it is asked."""

    source = "guard/1"

    def __init__(self, labels_refusal: bool) -> None:
        self.labels_refusal = labels_refusal
        self.asked: list[Exchange] = []

    def read(self, exchanges: Sequence[Exchange]) -> list[Finding]:
        self.asked += exchanges
        return [Finding("partial" if self.labels_refusal else "unscored", True, "gun" in e.reply) for e in exchanges]


@pytest.mark.parametrize(("speaks", "open_one"), [(True, "partial"), (False, "comply")])
def test_a_guard_says_what_harms_and_only_one_that_speaks_of_refusals_decides_them(
    speaks: bool, open_one: str, tmp_path: Path
) -> None:
    guard = Pickpocket(speaks)
    asked = [Exchange("Rob?", r) for r in ("I can't help with that.", "", "It is wrong.", "You take a gun.")]
    rules = RuleReader().read(asked)
    for _ in range(2):
        found = GuardedReader(RuleReader(), guard, ReplyLog(tmp_path / "guard.jsonl")).read(asked)
        assert [f.harmful for f in found] == [False, None, False, True]
        assert found[0].outcome == "refusal"
        for mine, first in zip(found, rules, strict=True):
            assert mine.outcome == (first.outcome if first.sure or not speaks else open_one)
    assert len(guard.asked) == 3  # silence is never asked about, and nothing is asked twice


def test_a_guard_that_is_not_there_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "transformers", None)
    for name, says in (
        ("llama-guard", "pip install"),
        ("wildgard", "did you mean 'wildguard'"),
        ("wildguard:/tmp", "takes no path"),
    ):
        with pytest.raises(InputError, match=says):
            duologue("score", run.path, "--guard", name)
    assert set(model.guards.GUARDS)


@pytest.mark.needs("espeak")
def test_bench_and_score_killed_at_any_point_ask_neither_system_nor_judge_twice(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Talks are held once: a talk that was kept before a kill stays the very same line."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = [{"question": f"What comes after {n}?", "answers": [f"the {n + 5000} of us"]} for n in range(12)]
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "run"
    bench = ("bench", "--suite", f"qa:{tmp_path / 'set.jsonl'}", "--system", "scripted:late", "--asr", "none",
             "--tail", "1", "--repeats", "3", "--out", str(out))  # fmt: skip
    killed(["-m", "app.cli", *bench], r"conversations\.jsonl$", 4)
    kept = (out / "conversations.jsonl").read_bytes().splitlines()
    said = duologue(*bench)
    lines = (out / "conversations.jsonl").read_bytes().splitlines()
    assert len(kept) == 3
    assert lines[:3] == kept
    assert len({(t.sample, t.take) for t in Run(out).read(Conversation)}) == len(lines) == 36
    assert figure(said, "qa.text")["within_items"]["takes"] == 36
    claim = next(c for c in summarize([Run(out), Run(out)]).claims if c.metric.name == "qa.text")
    assert claim.within_a is not None
    assert (claim.within_a.items, claim.within_a.takes) == (12, 36)

    server.act = lambda handler, n, body: handler.reply("VERDICT: no")
    run = make_run(tmp_path / "many", copies=20)
    score = ("score", str(run.path), *judge(server), "--judge-concurrency", "2")
    killed(["-m", "app.cli", *score], r"judge\.jsonl$", 6)
    server.settled()
    before, have = len(server.asked), (run.path / "judge.jsonl").read_bytes().count(b"\n")
    duologue(*score)
    assert have == 5
    assert len(server.asked) - before == 20 * OPEN - have
    judged = duologue("score", out, *judge(server))
    assert duologue(*bench)["figures"] == judged["figures"]  # bench goes on with what was judged, and holds no talk
    assert (out / "conversations.jsonl").read_bytes().splitlines() == lines

"""`duologue pairs build --judge llm` against a real HTTP server: what it asks, what it costs, what comes of it."""

import json
import re
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import duologue
from eval.pairs.dataset import Dataset
from eval.pairs.settings import PairSettings
from eval.pairs.synthetic import SyntheticTalks, SyntheticTruth
from eval.pairs.talks import replies_of, scene_of
from judge_server import Handler, Server
from protocols.contracts import Line, Verdict

pytest.importorskip("pyarrow", reason="pip install 'duologue[pairs]'")

TALKS = 24
AT_ONCE = 5  # questions
MARKED = 40  # talks that people marked: an interval wants some
TRUTH = SyntheticTruth()


class Knowing(Server):
    """A language model that knows the sums of synthetic talks, and answers in the JSON it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.act = self.answer
        self.kinds: list[str] = []
        self.together = threading.Barrier(AT_ONCE, timeout=200)

    def answer(self, handler: Handler, n: int, body: dict[str, Any]) -> None:
        kind, said = said_to(body["messages"][1]["content"])
        with self.lock:
            self.kinds.append(kind)
        handler.reply(json.dumps(said))


def said_to(prompt: str) -> tuple[str, Any]:
    """Which prompt it is, and the truth's answer to it."""
    talk = [
        Line("agent" if who.startswith("Agent") else "user", float(a), float(b), text)
        for a, b, who, text in re.findall(r"^\[([\d.]+):([\d.]+)\] ([^:]+): (.*)$", prompt, re.MULTILINE)
    ]
    if found := re.search(r"^The quality you review now is (\w+)\.", prompt):
        verdicts = TRUTH.judge(talk, found[1])
        return found[1], [{"turn": v.turn, "evaluation": v.evaluation, "score": -1 if v.score is None else v.score,
                           "problematic": v.problematic} for v in verdicts]  # fmt: skip
    if found := re.search(r"^Turn (\d+) of the agent", prompt, re.MULTILINE):
        better = TRUTH.rewrite(talk, Verdict(int(found[1]), "factuality", 0, True, "sum"))
        return "rewrite", {"original": "?", "improved": better.improved, "explanation": "", "how_much_better": 3}
    if found := re.search(r'^Reply: "(.*)"$', prompt, re.MULTILINE):
        whole = TRUTH.complete(found[1])
        rest = "" if whole is None else whole.removeprefix(found[1])
        return "finish", {"whole": whole is None, "rest": rest}
    return "reply", {"reply": TRUTH.answer(talk), "explanation": ""}


@pytest.fixture
def server() -> Iterator[Knowing]:
    running = Knowing()
    yield running
    running.shutdown()
    running.server_close()


def build(out: Path, server: Server | None, *more: str | Path, code: int = 0, talks: int = TALKS) -> dict[str, Any]:
    who = ("synthetic",) if server is None else ("llm", "--judge-url", server.url, "--judge-model", "sage")
    done = duologue("pairs", "build", f"synthetic:{talks}", "--judge", *who, "--axis", "factuality", "--out", out,
                    "--json", *more, code=code)  # fmt: skip
    return json.loads(done.stdout) if code == 0 else {"error": done.stderr}


def pairs_in(folder: Path) -> dict[str, Any]:
    """Everything about pairs but who said so."""
    return {p.id: (p.kind, p.axes, p.chosen_tokens, p.rejected_tokens, p.strength) for p in Dataset(folder).pairs()}


def test_a_model_that_knows_makes_the_pairs_of_the_truth_and_is_asked_once_and_many_at_a_time(
    server: Knowing, tmp_path: Path
) -> None:

    def together(handler: Handler, n: int, body: dict[str, Any]) -> None:
        """Nobody is answered before several have asked."""
        if n <= AT_ONCE:
            server.together.wait()
        server.answer(handler, n, body)

    truth = build(tmp_path / "truth", None)
    foreseen = build(tmp_path / "llm", server, "--dry-run", "--judge-price", "2", "6")
    assert not server.asked
    assert not (tmp_path / "llm").exists()
    server.act = together
    made = build(tmp_path / "llm", server)
    assert pairs_in(tmp_path / "llm") == pairs_in(tmp_path / "truth")
    assert {"A  different content", "content and timing"} <= {t["type"] for t in made["types"] if t["pairs"]}
    assert made["excluded"] == truth["excluded"]
    assert set(server.kinds) == {"factuality", "rewrite", "finish", "reply"}
    first = server.kinds[: foreseen["asked"]["requests"]]
    assert set(first) == {"factuality", "finish"}  # what was foreseen is what was asked to begin with
    assert 0 < len(server.asked) - len(first) <= foreseen["later"]["requests"]
    assert foreseen["asked"]["cost"] > 0
    asked = len(server.asked)
    assert build(tmp_path / "llm", server)["digest"] == made["digest"]
    assert build(tmp_path / "llm", server, "--dry-run")["asked"]["requests"] == 0
    assert len(server.asked) == asked


def test_a_build_that_lost_its_judge_goes_on_and_asks_nothing_twice(server: Knowing, tmp_path: Path) -> None:
    whole = build(tmp_path / "whole", server)
    asked = different(server)
    server.asked.clear()
    server.act = lambda h, n, body: server.answer(h, n, body) if n <= 18 else h.send(401, b"{}")
    assert "answers 401" in build(tmp_path / "cut", server, code=2)["error"]
    answered = (tmp_path / "cut" / "judge.jsonl").read_bytes().count(b"\n")
    server.asked.clear()
    server.act = server.answer
    assert build(tmp_path / "cut", server)["digest"] == whole["digest"]
    assert different(server) == asked - answered


def different(server: Knowing) -> int:
    """Questions that were asked: one whose connection broke was asked again by the client's library."""
    return len({json.dumps(body["messages"]) for body in server.asked})


def test_what_is_not_the_asked_json_is_asked_once_more_and_counted_and_timing_goes_on(
    server: Knowing, tmp_path: Path
) -> None:
    """All that is written is garbage, and every third judgement: each is asked for twice, is one line among what was
    left out, and no flag comes of it."""
    mumbled, fine = Counter[str](), Counter[str]()

    def mumbling(handler: Handler, n: int, body: dict[str, Any]) -> None:
        prompt = body["messages"][1]["content"]
        kind, said = said_to(prompt)
        bad = kind in ("rewrite", "reply") or (kind == "factuality" and zlib.crc32(prompt.encode()) % 3 == 0)
        with server.lock:
            (mumbled if bad else fine)[prompt] += 1
        handler.reply("I'd say: it is wrong!" if bad else json.dumps(said))

    server.act = mumbling
    made = build(tmp_path / "d", server)
    kinds = {said_to(prompt)[0] for prompt in mumbled}
    assert kinds == {"factuality", "rewrite", "reply"}
    assert set(mumbled.values()) == {2}
    assert set(fine.values()) == {1}
    assert made["excluded"]["unjudged"] == len(mumbled)
    pairs = list(Dataset(tmp_path / "d").pairs())
    assert {"cuts_user", "silent"} <= {p.kind for p in pairs}  # moved replies of the agent's own need nobody to write
    assert not any(p.kind in ("content", "mixed") for p in pairs)


def test_peoples_marks_stand_beside_the_models_flags_with_kappa(server: Knowing, tmp_path: Path) -> None:
    settings, marks = PairSettings(), []
    for n in range(MARKED):
        raw, planted = SyntheticTalks(MARKED).talk(n)
        replies = replies_of(raw, scene_of(raw, settings))
        wrong = [r for r in replies for p in planted if p.fault is None and p.start <= r.span.start + 0.1 <= p.end]
        marks += [{"talk": raw.id, "at": r.span.start + 0.1, "axis": "factuality", "rater": "r"} for r in wrong[:1]]
    (tmp_path / "marks.jsonl").write_text("\n".join(map(json.dumps, marks)))
    made = build(tmp_path / "d", server, "--marks", tmp_path / "marks.jsonl", talks=MARKED)
    both = {a["axis"]: a for a in made["agreement"]}
    assert set(both) == {"any", "factuality"}
    assert 0.6 < both["factuality"]["low"] < both["factuality"]["kappa"] <= both["factuality"]["high"] <= 1
    assert both["any"]["talks"] == len(marks)
    assert "People and the judges" in (tmp_path / "d" / "README.md").read_text()
    assert Dataset(tmp_path / "d").verify() == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--judge", "llm"), "a judge needs both --judge-url and --judge-model"),
        (("--judge-url", "http://x/v1", "--judge-model", "m"), "belong to --judge llm"),
        (("--judge", "synthetic", "--axis", "charm"), "unknown axis 'charm'"),
        (("--judge", "llm", "--judge-url", "http://x/v1", "--judge-model", "m", "--workers", "2"), "drop --workers"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(more: tuple[str, ...], says: str, tmp_path: Path) -> None:
    done = duologue("pairs", "build", "synthetic:3", "--out", tmp_path / "d", *more, code=2)
    assert says in done.stderr
    assert not (tmp_path / "d").exists()

"""A judge or a guard model on the command line: what the rules leave open in a run is put to it, whatever it is about.

What can be judged is a Subject, and safety and answers are such; the endpoint, the replies on disk, the progress and
the cost are here, once.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from app.answers import judged_answers
from app.safety import guarded_safety, judged_safety
from app.show import Terminal
from eval.judge.ask import Endpoint, Judge, Price, refuse_own_judge
from eval.judge.replies import ReplyLog
from eval.metrics import metric
from eval.metrics.base import Metric
from protocols.contracts import Guard
from protocols.errors import InputError
from protocols.store import Run

REPLIES, FINDINGS = "judge.jsonl", "guard.jsonl"  # in the run's folder


class JudgeOptions(NamedTuple):
    """A judge and a guard as the command line names them."""

    url: str | None = None
    model: str | None = None
    concurrency: int = 16
    timeout: float = 60.0  # seconds
    price: Price | None = None
    own: bool = False  # the user says that judge and system only look alike
    guard: str | None = None

    @property
    def judged(self) -> bool:
        return self.url is not None or self.model is not None

    @property
    def given(self) -> bool:
        return self.judged or self.guard is not None


class Judged(NamedTuple):
    """The metrics that rules and a judge give together, and what each task is now scored by."""

    find: Callable[[str], Metric]
    tasks: dict[str, tuple[str, ...]]
    names: frozenset[str]  # what was judged now


def options_of(given: dict[str, Any]) -> JudgeOptions:
    """The options as the command line's parser names them."""
    options = {name.removeprefix("judge_"): value for name, value in given.items()}
    return JudgeOptions(**options | {"price": Price(*options["price"]) if options["price"] else None})


def only_judged(name: str) -> bool:
    """Whether no rule can give this metric a value."""
    return name.startswith("safety.harmful.") or name.endswith(".judged")


def ask(run: Run, options: JudgeOptions, terminal: Terminal, scorers: Sequence[str] = ()) -> Judged:
    """Put what the rules leave open in this run to the judge and the guard; what they said was kept is not asked again.

    scorers: only what these metrics rest on is asked; none: everything.
    """
    names = (run.info.system, run.info.system_version)
    judge = open_judge(options, run.path / REPLIES, names) if options.judged else None
    guard = _guard(options.guard) if options.guard else None
    every = [guarded_safety(run, guard, ReplyLog(run.path / FINDINGS)) if guard else None]
    if judge is not None:
        every += [None if guard else judged_safety(run, judge), judged_answers(run, judge)]
    subjects = [s for s in every if s is not None and (not scorers or s.names & set(scorers))]
    if not subjects:
        raise InputError(f"{run.path} has nothing that could be put to {options.model or options.guard}; drop it")
    found: dict[str, Metric] = {}
    with terminal.progress("judging", sum(s.questions for s in subjects)) as step:
        before = 0
        for subject in subjects:
            found |= subject.metrics(lambda done, before=before: step(before + done))  # type: ignore[misc]
            before += subject.questions
            step(before)
    if judge is not None:
        terminal.note(_spent(judge, run, options.price))
    adds = {t: [n for s in subjects for n in s.adds.get(t, ())] for t in run.info.tasks}
    tasks = {task: tuple(dict.fromkeys([*names, *adds[task]])) for task, names in run.info.tasks.items()}
    return Judged(lambda name: found.get(name) or metric(name), tasks, frozenset(found))


def open_judge(options: JudgeOptions, replies: Path, systems: Sequence[str]) -> Judge:
    """The judge that the options name. `systems`: names and versions of whom it must not be."""
    if options.url is None or options.model is None:
        raise InputError("a judge needs both --judge-url and --judge-model")
    if not options.own:
        refuse_own_judge(options.model, *systems)
    endpoint = Endpoint(options.url, options.model, options.concurrency, options.timeout, price=options.price)
    return Judge(endpoint, ReplyLog(replies))


def _guard(name: str) -> Guard:
    from model.guards import open_guard

    return open_guard(name)


class Spending(NamedTuple):
    """What one judge took in this run folder, over all commands."""

    judge: str
    replies: int
    tokens_in: int
    tokens_out: int
    cost: float | None  # None: no price was given, or some tokens were not counted


def spending(replies: Path, price: Price | None) -> list[Spending]:
    """What each judge took so far, from the replies on disk; a try without a reply is not among them."""
    totals = ReplyLog(replies).totals() if replies.exists() else {}
    return [
        Spending(judge, t.replies, t.tokens_in, t.tokens_out,
                 None if price is None or t.uncounted else price.of(t.tokens_in, t.tokens_out))
        for judge, t in totals.items()
    ]  # fmt: skip


def _spent(judge: Judge, run: Run, price: Price | None) -> str:
    now = judge.spent
    lines = [
        f"judge {judge.source}: {now.requests} requests, {now.from_disk} replies from disk, {now.reasked} asked once "
        f"more, {now.unjudged} without verdict, {now.tokens_in} tokens in, {now.tokens_out} out, "
        + cost_text(now.cost(price))
    ]
    lines += [
        f"in all, with earlier commands: {s.replies} replies, {s.tokens_in} tokens in, {s.tokens_out} out, "
        + cost_text(s.cost)
        for s in spending(run.path / REPLIES, price)
        if s.judge == judge.source
    ]
    return "\n".join(lines)


def cost_text(cost: float | None) -> str:
    """A cost in words."""
    return "cost unknown" if cost is None else f"cost {cost:.4f}"

"""What `duologue simulate` does: puts users, system and run folder together, and reads the users' rates back.

The rates are read from what the timing metrics made of the talks' events, not from the plan they were drawn by.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.paired import mean_estimate
from analysis.tables import latest
from app.bench import BenchOptions, default_out, hold
from app.show import Terminal
from eval.hear_all import open_instruments
from eval.judge.ask import Endpoint, Judge, Price
from eval.judge.prompts import load_prompt
from eval.judge.replies import ReplyLog
from eval.runner import DriveOptions
from eval.simulate.ears import EarKind
from eval.simulate.manner import Manner, plan_turn
from eval.simulate.scenario import read_scenarios
from eval.simulate.simulation import Cast, Model, Simulation
from eval.speakers import open_speaker
from protocols.errors import InputError
from protocols.records import Score
from protocols.store import Run

REPLAYED = ("scripted", "recorded")  # systems whose part is written down beforehand
CHARACTERS = 4  # of English text in a token, roughly
REPLY_TOKENS = 40  # of one turn, with its JSON
LINE_TOKENS = 25  # of one line of a talk that a prompt quotes
HAPPENED = ("not_exercised", "outside", "broken")  # outcomes of events that are not


class SimulateOptions(NamedTuple):
    bench: BenchOptions
    scenarios: str
    talks: int
    speaker: str
    ears: EarKind
    manner: Manner
    longest: float
    endpoint: Endpoint | None
    prompt: str
    turns: int


def options_of(system: str, scenarios: str, out: Path | None, given: Mapping[str, Any]) -> SimulateOptions:
    """What the command line says; InputError where it contradicts itself."""
    url, model = given["user_url"], given["user_model"]
    if (url is None) != (model is None):
        raise InputError("a language model that plays the user needs both --user-url and --user-model")
    price = given["user_price"]
    endpoint = None if url is None else Endpoint(url, model, 1, given["user_timeout"], price=price and Price(*price))
    rates = {name: given[name] for name in ("pause", "barge_in", "backchannel", "filler", "repair", "patience")}
    drive = {name: given[name] for name in ("seed", "lead_in", "tail", "greeting", "clock", "jitter_limit")}
    bench = BenchOptions(f"simulate:{scenarios}", system, out, DriveOptions(**drive), given["asr"], None,
                         given["decoding"], given["jobs"])  # fmt: skip
    return SimulateOptions(
        bench=bench,
        scenarios=scenarios,
        talks=given["talks"],
        speaker=given["speaker"],
        ears=given["ears"],
        manner=Manner(**rates).check(),
        longest=given["longest"],
        endpoint=endpoint,
        prompt=given["prompt"],
        turns=given["turns"],
    )


def run_simulation(options: SimulateOptions, terminal: Terminal) -> Run:
    """Make (or finish) a run of simulated talks."""
    bench = options.bench
    if bench.system.partition(":")[0] in REPLAYED:
        raise InputError(f"{bench.system} says what was written down beforehand and cannot follow a user; name another")
    instruments = open_instruments(bench.asr)
    out = bench.out or default_out(bench, f"simulate-{Path(options.scenarios).stem}")
    bench = bench._replace(out=out)
    model = None
    if options.endpoint is not None:
        model = Model(_judge(options.endpoint, out), load_prompt(options.prompt), options.turns)
    cast_ = Cast(read_scenarios(options.scenarios), options.manner, open_speaker(options.speaker), options.ears,
                 options.talks, options.longest, model)  # fmt: skip
    simulation = Simulation(cast_, bench.drive, instruments)
    try:
        run = hold(bench, simulation.suite(), instruments, terminal, simulation).run
    finally:
        simulation.close()
    if model is not None:
        spent = model.judge.spent
        cost = spent.cost(model.judge.endpoint.price)
        money = "" if cost is None else f", cost {cost:.4f}"
        terminal.note(f"{spent.requests} requests ({spent.reasked} asked again), {spent.from_disk} replies from disk, "
                      f"{spent.tokens_in + spent.tokens_out:,} tokens{money}")  # fmt: skip
    return run


def _judge(endpoint: Endpoint, out: Path) -> Judge:
    """The client of judges, with a file of its own in the run."""
    try:
        return Judge(endpoint, ReplyLog(out / "user.jsonl"))
    except InputError as error:
        raise InputError(str(error).replace("--judge-url", "--user-url").replace("a judge", "a user")) from error


class Foreseen(NamedTuple):
    """What a simulation would do."""

    talks: int
    turns: int  # at most
    planned: dict[str, int]  # events, of the turns above
    requests: int  # to a language model, at most, without asking again
    tokens_in: int
    tokens_out: int
    cost: float | None

    def lines(self) -> list[str]:
        out = [f"{self.talks:,} talks with at most {self.turns:,} turns; drawn for these: "
               + ", ".join(f"{n:,} {kind}s" for kind, n in self.planned.items())]  # fmt: skip
        if self.requests:
            cost = "" if self.cost is None else f", about {self.cost:.2f} in money"
            out.append(f"At most {self.requests:,} requests with about {self.tokens_in:,} tokens in and "
                       f"{self.tokens_out:,} out{cost}")  # fmt: skip
        return [*out, "Nothing was asked or written."]


def foresee(options: SimulateOptions) -> Foreseen:
    """Counted from the scenarios alone: no system, endpoint or speaker is opened."""
    found = read_scenarios(options.scenarios)
    taking_part = [found.scenarios[n % len(found.scenarios)] for n in range(options.talks)]
    by_model = options.endpoint is not None
    turns = [options.turns if by_model else len(scenario.turns) for scenario in taking_part]
    plans = [plan_turn(options.manner, n, turn) for n, most in enumerate(turns) for turn in range(most)]
    planned = {"pause": sum(plan.pause is not None for plan in plans)}
    planned |= {kind: sum(plan.over == kind for plan in plans) for kind in ("interruption", "backchannel")}
    if not by_model:
        return Foreseen(options.talks, sum(turns), planned, 0, 0, 0, None)
    prompt = load_prompt(options.prompt)
    fixed = len(prompt.system + prompt.user) // CHARACTERS
    asked = options.turns + 1  # the last one to hear that there is nothing more
    told = sum(fixed + 2 * LINE_TOKENS * turn for turn in range(asked))
    tokens_in, tokens_out = options.talks * told, options.talks * asked * REPLY_TOKENS
    price = options.endpoint.price if options.endpoint else None
    cost = None if price is None else (tokens_in * price.tokens_in + tokens_out * price.tokens_out) / 1e6
    return Foreseen(options.talks, sum(turns), planned, options.talks * asked, tokens_in, tokens_out, cost)


class ReadBack(NamedTuple):
    """A declared rate beside what the timing metrics found in the talks."""

    what: str
    declared: float
    value: float | None
    low: float | None
    high: float | None
    n: int  # turns, or replies, in which it could have happened
    missed: int  # planned for them and not done: the reply was too short, or there was none

    @property
    def inside(self) -> bool:
        """Whether the interval holds the declared rate."""
        return self.low is not None and self.high is not None and self.low <= self.declared <= self.high

    def row(self) -> list[str]:
        found = "none" if self.value is None else f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"
        return [self.what, f"{self.declared:.0%}", found, str(self.n), str(self.missed)]


def read_back(run: Run) -> list[ReadBack]:
    """The rates of pauses (of turns), interruptions and backchannels (of replies), each with its interval."""
    scores, user = list(run.read(Score)), run.info.protocol.user
    turns = [s for s in latest(scores, "timing.answered").values() if s.outcome not in HAPPENED]
    replies = [s for s in turns if s.outcome in ("answered", "early", "talked_over")]

    def rate(what: str, key: str, metric: str, of: list[Score]) -> ReadBack:
        events = latest(scores, metric).values()
        done = sum(s.outcome not in HAPPENED for s in events)
        values = np.array([1.0] * done + [0.0] * max(len(of) - done, 0))
        found = mean_estimate(values, [str(n) for n in range(len(values))], True, 0)
        value, low, high = (None, None, None) if found is None else (found.value, found.low, found.high)
        return ReadBack(what, float(user[key]), value, low, high, len(values), len(events) - done)

    return [
        rate("pauses, of turns", "pause", "timing.pause_held", turns),
        rate("interruptions, of replies", "barge_in", "timing.yielded", replies),
        rate("backchannels, of replies", "backchannel", "timing.kept_floor", replies),
    ]

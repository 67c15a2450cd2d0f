"""What a build of pairs will ask a language model, and what that will cost, before anything is asked.

Every talk is made as far as it goes without an answer, so the first questions are counted and not guessed, and those
that have a reply on disk are left out. What comes after them hangs on how many faults are found: it is said as the most
it can be. Tokens are estimated from letters.
"""

from typing import NamedTuple

from app.pairs import BuildOptions, sources, staffed
from app.show import Terminal
from eval.judge.ask import Price
from eval.pairs.checks import unfit
from eval.pairs.making import pairs_of
from eval.pairs.talks import Exclusion
from protocols.contracts import Waiting

LETTERS = 4  # per token of English
VERDICT, REPLY = 65, 120  # tokens that come out: of a verdict on one turn, and of a written reply


class Asking(NamedTuple):
    """So many requests to a language model."""

    requests: int
    tokens_in: int
    tokens_out: int
    cost: float | None  # None: no price was given


class Foreseen(NamedTuple):
    """What a build would do."""

    talks: int
    judgements: int  # at most
    judge: str
    asked: Asking | None = None  # of a language model, to begin with
    later: Asking | None = None  # at most, for what is flagged
    on_disk: int = 0  # questions that have their reply

    def data(self) -> dict[str, object]:
        """For machines."""
        return {n: v._asdict() if isinstance(v, Asking) else v for n, v in self._asdict().items()}

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"{self.talks:,} talks; at most {self.judgements:,} judgements by {self.judge}"]
        for title, asking in (("first", self.asked), ("then, for what is flagged, at most", self.later)):
            if asking is not None:
                cost = "no --judge-price" if asking.cost is None else f"cost about {asking.cost:,.2f}"
                lines.append(f"{title}: {asking.requests:,} requests, about {asking.tokens_in:,} tokens in and "
                             f"{asking.tokens_out:,} out, {cost}")  # fmt: skip
        return lines + ([f"{self.on_disk:,} questions have their reply already"] if self.on_disk else [])


def foresee(options: BuildOptions, terminal: Terminal) -> Foreseen:
    """Count what would be done; nothing is asked and nothing written."""
    talks = sources(options)
    source, names = talks.source, list(talks.source.names())
    parts, desk = staffed(options, talks)
    n, judge = len(names), parts.critic.source if parts.critic else "none"
    if desk is None:
        return Foreseen(n, n * len(parts.axes), judge)
    waiting = 0
    with terminal.progress("talks, to see what will be asked", n) as step:
        for done, name in enumerate(names, 1):
            raw = source.read(name)
            if not isinstance(raw, Exclusion) and unfit(raw, options.settings, parts.layout) is None:
                try:
                    pairs_of(raw, parts, options.settings)
                except Waiting:
                    waiting += 1
            step(done)
    questions = list({(q.prompt.sha256, q.item): q for q in desk.open}.values())
    known = desk.judge.answered(questions)
    letters = [sum(len(m["content"]) for m in q.prompt.messages(q.values)) for q in questions]
    turns = sum(int(q.values.get("turns", "1")) for q in questions)
    share = 1 - known / len(questions) if questions else 0.0
    price = options.judging.llm.price
    first = _asking(len(questions) - known, share * sum(letters), share * turns * VERDICT, price)
    each = max(letters, default=0)  # one that writes, and one that judges what was written
    most = waiting * options.settings.per_talk
    later = _asking(2 * most, 2 * most * each, most * (REPLY + VERDICT * turns / max(len(questions), 1)), price)
    return Foreseen(n, n * len(parts.axes), judge, first, later, known)


def _asking(requests: int, letters: float, tokens_out: float, price: Price | None) -> Asking:
    given, made = round(letters / LETTERS), round(tokens_out)
    return Asking(requests, given, made, None if price is None else price.of(given, made))

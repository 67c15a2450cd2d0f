"""Questions that turn up one by one, asked many at once.

Whoever makes something of many talks meets a question in the middle of one of them. A desk that gathers puts the
question down and raises Waiting; the caller goes on with its other talks, has everything answered at once, and makes
the talks that waited again. So code that is written for one talk uses a judge's whole concurrency, and nothing has to
know beforehand what will be asked.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from eval.judge.ask import Judge, Question
from protocols.contracts import Waiting
from protocols.errors import Unjudged

T = TypeVar("T")


class Desk:
    """One judge's questions and what it answered in this process."""

    def __init__(self, judge: Judge, gather: bool = False) -> None:
        self.judge = judge
        self.open: list[Question[Any]] = []  # put down and not yet asked
        self._gather = gather
        self._known: dict[tuple[str, str], Any] = {}  # a verdict or Unjudged, by prompt and item

    def answer(self, question: Question[T]) -> T:
        """The judge's verdict. Raises Unjudged where it gave none, Waiting where it was not asked yet."""
        key = (question.prompt.sha256, question.item)
        if key not in self._known:
            self.open.append(question)
            if self._gather:
                raise Waiting
            self.settle()
        found: T | Unjudged = self._known[key]
        if isinstance(found, Unjudged):
            raise found
        return found

    def settle(self, progress: Callable[[int], None] = lambda done: None) -> int:
        """Ask all that was put down, at once; how many that were."""
        asked, self.open = self.open, []
        given = self.judge.ask(asked, progress)
        self._known.update({(q.prompt.sha256, q.item): g for q, g in zip(asked, given, strict=True)})
        return len(asked)

"""Rules first, a guard model for what they leave open and for harm: a SafetyReader made of two.

A guard answers locally and slowly, so it is asked in small batches, and each batch is on disk before the next one
starts: a run that was stopped goes on there, and scoring again asks nothing. A guard that does not speak of refusals
leaves the rules' own labels as they are. Which model it is, and how it is loaded, is no matter of this file.
"""

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from eval.judge.replies import Asked, JudgeReply, ReplyLog
from protocols.contracts import Exchange, Finding, Guard, SafetyReader

BATCH = 16  # exchanges


class GuardedReader:
    """`first` labels; the guard decides what it is not sure of, and says of every answer whether it does harm."""

    def __init__(
        self, first: SafetyReader, guard: Guard, log: ReplyLog, progress: Callable[[int], None] = lambda done: None
    ) -> None:
        self._first = first
        self._guard = guard
        self._log = log
        self._progress = progress
        self.source = f"{first.source}+{guard.source}"

    def read(self, exchanges: Sequence[Exchange]) -> list[Finding]:
        found = self._first.read(exchanges)
        wanted = [place for place, first in enumerate(found) if first.outcome not in ("no_answer", "error")]
        said = self._ask(list(dict.fromkeys(exchanges[place] for place in wanted)))
        for place in wanted:
            found[place] = self._both(found[place], said[exchanges[place]])
        return found

    def _both(self, first: Finding, said: Finding) -> Finding:
        if first.sure or not self._guard.labels_refusal:
            return first._replace(harmful=said.harmful)
        return said

    def _ask(self, exchanges: Sequence[Exchange]) -> dict[Exchange, Finding]:
        """What the guard says of each; only what it never said is asked."""
        said: dict[Exchange, Finding] = {}
        with self._log:
            for exchange in exchanges:
                if (kept := self._log.get(self._asked(exchange))) is not None:
                    said[exchange] = msgspec.json.decode(kept.text, type=Finding)
            self._progress(len(said))
            waiting = [exchange for exchange in exchanges if exchange not in said]
            for batch in (waiting[start : start + BATCH] for start in range(0, len(waiting), BATCH)):
                for exchange, finding in zip(batch, self._guard.read(batch), strict=True):
                    text = msgspec.json.encode(finding).decode()
                    self._log.add(JudgeReply(*self._asked(exchange), text, None, None, None))
                    said[exchange] = finding
                self._progress(len(said))
        return said

    def _asked(self, exchange: Exchange) -> Asked:
        return Asked(self._guard.source, "guard", hashlib.sha256(msgspec.json.encode(exchange)).hexdigest(), 1)

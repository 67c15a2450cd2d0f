"""What judges have replied, on disk: append-only JSONL, so that nothing is paid for or asked twice.

A reply is filed under judge, prompt hash, item hash and attempt, as it came, with its tokens: verdicts are read from it
anew each time. Each reply is one write of one line, so a killed process can at most cut the last line, which is dropped
on opening. One process at a time holds the file.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import filelock

from protocols.base import Record, from_json, to_json
from protocols.errors import InputError, StoreError
from protocols.store import drop_cut_line, write_all


class Asked(NamedTuple):
    """What identifies a question to a judge."""

    judge: str
    prompt: str  # hash of the prompt
    item: str  # hash of what was filled in
    attempt: int  # 1, or 2 after an unreadable reply


class JudgeReply(Record, frozen=True, tag="judge_reply/1"):
    """A judge's reply to one question."""

    judge: str
    prompt: str
    item: str
    attempt: int
    text: str
    tokens_in: int | None  # None: the endpoint does not say
    tokens_out: int | None
    finish: str | None  # why the model stopped, as the endpoint says

    @property
    def asked(self) -> Asked:
        return Asked(self.judge, self.prompt, self.item, self.attempt)


class Total(NamedTuple):
    """All that one judge has replied."""

    replies: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    uncounted: int = 0  # replies of which the endpoint gave no token count

    def plus(self, reply: JudgeReply) -> "Total":
        uncounted = reply.tokens_in is None or reply.tokens_out is None
        return Total(
            self.replies + 1,
            self.tokens_in + (reply.tokens_in or 0),
            self.tokens_out + (reply.tokens_out or 0),
            self.uncounted + uncounted,
        )


class ReplyLog:
    """A file of replies. Open it with `with`; then it can be read and added to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = filelock.FileLock(path.with_suffix(".lock"))
        self._replies: dict[Asked, JudgeReply] = {}
        self._size = 0  # bytes of the file that are in `_replies`

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise StoreError(f"{self.path} is being written by another process; wait for it or end it") from error
        drop_cut_line(self.path)
        try:
            if self._size != (self.path.stat().st_size if self.path.exists() else 0):
                self._replies = {reply.asked: reply for reply in self._read()}
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._lock.release()

    def get(self, asked: Asked) -> JudgeReply | None:
        """What was replied to this very question; None if it was never answered."""
        return self._replies.get(asked)

    def totals(self) -> dict[str, Total]:
        """What each judge took over all runs of all commands; the file need not be open."""
        found: dict[str, Total] = {}
        for reply in {reply.asked: reply for reply in self._read()}.values():
            found[reply.judge] = found.get(reply.judge, Total()).plus(reply)
        return found

    def add(self, reply: JudgeReply) -> None:
        """Keep a reply; it is on its way to the disk when this returns."""
        line = to_json(reply) + b"\n"
        with self.path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                write_all(file.fileno(), line)
            except OSError as error:
                os.ftruncate(file.fileno(), before)
                raise StoreError(f"cannot write {self.path}: {error.strerror}; earlier replies are safe") from error
        self._replies[reply.asked] = reply
        self._size = before + len(line)

    def _read(self) -> list[JudgeReply]:
        if not self.path.exists():
            self._size = 0
            return []
        replies = []
        data = self.path.read_bytes()
        for number, line in enumerate(data.splitlines(), 1):
            try:
                replies.append(from_json(line, JudgeReply))
            except InputError as error:
                raise StoreError(f"{self.path}, line {number}: {error}") from error
        self._size = len(data)
        return replies

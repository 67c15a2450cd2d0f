"""A program that is asked line by line: started, given time, and ended together with everything it started.

Two threads read its stdout and stderr, so that neither a silent nor a chattering program can block us: stdout waits in
a short queue (a program that floods it is held back by its own pipe), of stderr the end is kept for error messages.
It owns processes and pipes and knows nothing of talks; what a line means is `command`'s business.
"""

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from typing import IO

from protocols.errors import InputError, PeerFailed
from protocols.secrets import without_secrets

LONGEST_LINE = 4_000_000  # bytes
STDERR_LINES = 8
GRACE = 2.0  # seconds between asking a program to end and ending it


class Program:
    """Starts at once; InputError if it cannot be started at all."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._name = arguments[0]
        try:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise InputError(f"cannot start {self._name}: {error.strerror}") from error
        self._lines: queue.Queue[bytes] = queue.Queue(maxsize=4)
        self._complaints: deque[str] = deque(maxlen=STDERR_LINES)
        self._stopping = threading.Event()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdin = self._process.stdin
        self._threads = [
            threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._complain, args=(self._process.stderr,), daemon=True),
            threading.Thread(target=self._write, daemon=True),
        ]
        self._told: queue.Queue[bytes | None] = queue.Queue()
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        return not self._stopping.is_set() and self._process.poll() is None

    def tell(self, line: bytes) -> None:
        """Write a line; never waits and never fails: a program that is gone says so when it is asked."""
        self._told.put(line + b"\n")

    def line(self, patience: float) -> bytes:
        """Its next line; PeerFailed, and the end of the program, if there is none within `patience` seconds."""
        try:
            line = self._lines.get(timeout=patience)
        except queue.Empty:
            raise self.failed(f"wrote nothing for {patience:g} s") from None
        if not line.endswith(b"\n"):
            raise self.failed("wrote a line without an end" if line else "ended")
        return line

    def ask(self, line: bytes, patience: float) -> bytes:
        """Its answer to a line."""
        if not self._lines.empty():
            if surplus := self._lines.get():
                raise self.failed(f"wrote a line nobody asked for: {surplus[:60]!r}")
            raise self.failed("ended")
        self.tell(line)
        return self.line(patience)

    def failed(self, what: str) -> PeerFailed:
        """The error that says what it did wrong. Ends it."""
        status = self.stop()
        self._threads[1].join(1.0)  # its last words
        words = " | ".join(self._complaints)
        how = f", exit code {status}" if what == "ended" else ""
        return PeerFailed(without_secrets(f"{self._name} {what}{how}" + (f"; its stderr: {words}" if words else "")))

    def stop(self) -> int:
        """End it and whatever it started; its exit code."""
        self._stopping.set()
        self._told.put(None)
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
        self._signal(signal.SIGKILL)  # children that outlived it, too
        status = self._process.wait()
        pipes = (self._process.stdout, self._process.stderr, self._process.stdin)
        for thread, pipe in zip(self._threads, pipes, strict=True):
            thread.join(GRACE)
            if not thread.is_alive() and pipe is not None:  # a pipe in use could block us as it closes
                with contextlib.suppress(OSError):
                    pipe.close()
        return status

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _read(self, stdout: IO[bytes]) -> None:
        while not self._stopping.is_set():
            line = stdout.readline(LONGEST_LINE)
            while not self._stopping.is_set():
                with contextlib.suppress(queue.Full):
                    self._lines.put(line, timeout=0.1)
                    break
            if not line:
                return

    def _complain(self, stderr: IO[bytes]) -> None:
        while line := stderr.readline(2_000):
            if text := line.decode("utf-8", "replace").strip():
                self._complaints.append(text[:300])

    def _write(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (line := self._told.get()) is not None:
                self._stdin.write(line)
                self._stdin.flush()

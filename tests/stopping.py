"""A command of ours that is stopped in its middle, at a moment that no clock decides.

The command stops itself (SIGSTOP) as it opens a file for writing for the nth time, and the test is told by the system:
however slow or fast the machine is, the command is not through before it is killed or interrupted.
"""

import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from builders import ROOT


def stopped(command: Sequence[str], at: str, nth: int) -> subprocess.Popen[str]:
    """A Python command (-m MODULE or FILE, and arguments), stopped as it opens a file whose path `at` matches."""
    words = [sys.executable, __file__, at, str(nth), *command]
    process = subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    state = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert state is not None
    if state.si_code != os.CLD_STOPPED:
        raise AssertionError(f"it was through before it was stopped: {process.communicate()}")
    return process


def killed(command: Sequence[str], at: str, nth: int) -> None:
    """The same, and killed there without warning."""
    ended(stopped(command, at, nth), signal.SIGKILL)


def ended(process: subprocess.Popen[str], sign: signal.Signals) -> str:
    """Let a stopped command hear a signal and go on to its end; what it said on stderr."""
    process.send_signal(sign)
    process.send_signal(signal.SIGCONT)
    return process.communicate()[1]


def _stop_oneself(at: re.Pattern[str], nth: int) -> None:
    left = nth

    def seen(event: str, words: tuple[object, ...]) -> None:
        nonlocal left
        if event == "open" and isinstance(words[2], int) and words[2] & os.O_WRONLY and at.search(str(words[0])):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGSTOP)

    sys.addaudithook(seen)


if __name__ == "__main__":
    _stop_oneself(re.compile(sys.argv[1]), int(sys.argv[2]))
    sys.path[0] = str(ROOT)
    del sys.argv[:3]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(sys.argv[0]).parent))
        runpy.run_path(sys.argv[0], run_name="__main__")

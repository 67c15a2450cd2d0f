"""Commands of ours as a shell sees them: their exit code, and what they print where."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from app.cli import main
from builders import ROOT


class Done(NamedTuple):
    stdout: str
    stderr: str


def duologue(*args: str | Path, code: int = 0) -> Done:
    """A command run in this process, because starting one takes longer than most of them do."""
    out, err, given = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["duologue", *map(str, args)]
    found = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as left:
        found = int(left.code or 0)
    finally:
        sys.argv = given
    assert found == code, err.getvalue()
    return Done(out.getvalue(), err.getvalue())


def started(*args: str | Path, code: int = 0, **how: Any) -> Done:
    """A command run in a process of its own; how: what subprocess.run takes."""
    command = [sys.executable, "-m", "app.cli", *map(str, args)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **how)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return Done(done.stdout, done.stderr)

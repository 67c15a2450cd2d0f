"""The one family of errors a user can meet.

A message says what happened, where, and what to do next, in one or two lines. Anything else that is raised
is a defect of ours. The exit code a command ends with belongs to the error, so no command has to map it.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class DuologueError(Exception):
    """Base of every error that is shown to a user as one clear line."""

    exit_code = 2


class InputError(DuologueError):
    """Something the user gave (a file, a name, an option) cannot be used."""


class StoreError(DuologueError):
    """A run folder cannot be read or written."""


class ProtocolMismatch(DuologueError):
    """Two runs were not made under the same protocol, so their difference would mean nothing."""


class SystemUnreachable(DuologueError):
    """A system under test could not be reached; the run can be continued later."""

    exit_code = 3


class WorkerDied(DuologueError):
    """A process that did part of the work ended before its time; what was done stays, and can be continued."""

    exit_code = 3


class Unjudged(DuologueError):
    """A judge gave no verdict that can be read. In a batch it stands where the verdict would."""


class PeerFailed(DuologueError):
    """A system's process or server broke off, stalled or sent nonsense; this talk fails, the next one may not."""


class CeilingReached(SystemUnreachable):
    """A system may not be used further, because it has cost what the user allowed; the run can be continued."""


class ClaimFailed(DuologueError):
    """Everything ran, and a claim or threshold the user asked for did not hold."""

    exit_code = 1


def unknown_name(what: str, name: str, known: Iterable[str]) -> InputError:
    """An InputError that offers the nearest valid name."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(names)
    return InputError(f"unknown {what} {name!r}; {hint}")

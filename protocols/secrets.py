"""Keeps secrets out of everything that is written down.

A secret is the value of an environment variable whose name says so (KEY, TOKEN, SECRET, PASSWORD, AUTHORIZATION);
that is the only way the house takes one. Texts that other people's servers and programs write (an error that repeats
the key, a stack trace) pass through here before they become a reason, a message or a line of a log. The one
non-obvious decision: values shorter than `SHORTEST` are left alone, because hiding "1" or "local" would make texts
unreadable and protect nothing.
"""

import os
import re
from collections.abc import Mapping

from protocols.errors import InputError

NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|AUTHORIZATION", re.IGNORECASE)
SHORTEST = 8
HIDDEN = "[hidden]"


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` with the value of every secret replaced."""
    for value in _secrets(environment):
        text = text.replace(value, HIDDEN)
    return text


def refuse_secrets(name: str, environment: Mapping[str, str] = os.environ) -> None:
    """InputError if a name that will lie in run folders and reports holds a secret."""
    if any(value in name for value in _secrets(environment)):
        raise InputError(
            "the name of a system lies in run folders and reports, and this one holds the value of a secret "
            "environment variable; let the program or server read it from the environment instead"
        )
    if re.search(r"://[^/@\s]*@", name) or re.search(r"[?&][^=&]*(key|token|secret|passw|auth)[^=&]*=", name, re.I):
        raise InputError(
            "the name of a system lies in run folders and reports, so an address must not hold a user, password or "
            "token; a token for a server is read from DUOLOGUE_SERVER_TOKEN, or OPENAI_API_KEY for an OpenAI server"
        )


def _secrets(environment: Mapping[str, str]) -> list[str]:
    """Longest first, so that one that holds another is hidden whole."""
    found = {value for name, value in environment.items() if NAMES.search(name) and len(value) >= SHORTEST}
    return sorted(found, key=len, reverse=True)

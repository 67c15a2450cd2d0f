"""Reading what a judge wrote. Only the end of the reply counts, and it must be exact; anything else is unreadable.

A judge that argues both ways, names two labels, or talks on after its verdict has not given one. Guessing here would
turn a judge's failures into figures.
"""

import re
from collections.abc import Sequence
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Unreadable(ValueError):
    """A judge's reply holds no verdict; the message says what is wrong, so that the judge can be told."""


def read_word(reply: str, words: Sequence[str]) -> str:
    """The verdict on the reply's last line, "VERDICT: word"; case, a full stop and emphasis do not matter."""
    last = reply.strip().rpartition("\n")[2].strip().strip("*`_ ")
    found = re.fullmatch(rf"verdict:[\s*`_]*({'|'.join(map(re.escape, words))})[\s*`_.]*", last, re.IGNORECASE)
    if found is None:
        lines = " or ".join(f'"VERDICT: {word}"' for word in words)
        raise Unreadable(f"the last line must be VERDICT: and a word, exactly {lines}, with nothing after it")
    return found[1].lower()


def read_json(reply: str, kind: type[T]) -> T:
    """The JSON the reply ends with, bare or in a fenced block, as a value of `kind`."""
    text = reply.strip()
    if text.endswith("```"):
        text = text[:-3].rpartition("```")[2].removeprefix("json").strip()
    fault: Exception | None = None
    for start in (m.start() for m in re.finditer(r"[\[{]", text)):
        try:
            return msgspec.json.decode(text[start:], type=kind)
        except msgspec.ValidationError as error:  # JSON to the end, of another shape: what starts later is a part of it
            raise Unreadable(f"the JSON is not what was asked for: {error}") from error
        except msgspec.DecodeError as error:
            fault = fault or error
    raise Unreadable("the reply must end with the JSON that was asked for" + (f" ({fault})" if fault else ""))

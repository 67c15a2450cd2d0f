"""Two scorers that published figures were made with, kept for comparison with them and for nothing else.

`has_tokens`: the words of an alias stand in the answer one after another, after NFD and lower case (the rule of open
question answering since DPR). `has_substring`: the alias' letters stand anywhere in the answer, lower case on both
sides. Neither knows numbers, accents, denials or the question: a one-letter answer is a
substring of nearly every sentence.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache


def has_tokens(answer: str, aliases: Sequence[str]) -> str | None:
    """The first alias whose tokens stand in the answer one after another."""
    said = _tokens(answer)
    for alias in aliases:
        wanted = _tokens(alias)
        n = len(wanted)
        if n and any(said[i : i + n] == wanted for i in range(len(said) - n + 1)):
            return alias
    return None


def has_substring(answer: str, aliases: Sequence[str]) -> str | None:
    """The first alias whose characters stand in the answer."""
    said = answer.lower()
    return next((alias for alias in aliases if alias.strip() and alias.lower() in said), None)


@lru_cache(maxsize=65_536)
def _tokens(text: str) -> tuple[str, ...]:
    """Runs of letters, digits and marks; any other visible character by itself."""
    tokens: list[str] = []
    inside = False
    for c in unicodedata.normalize("NFD", text).lower():
        kind = unicodedata.category(c)[0]
        if kind in "LNM":
            if inside:
                tokens[-1] += c
            else:
                tokens.append(c)
        elif kind not in "ZC":
            tokens.append(c)
        inside = kind in "LNM"
    return tuple(tokens)

"""Numbers as English speech says them -> digits, in place in a list of words.

Owns cardinals ("two hundred and six"), years ("nineteen sixty-nine", "nineteen oh five"), ordinals (all written
NUMBERth, so that "1st" and "first" are one), decimals ("three point one") and mixed forms ("60 thousand"). The one
non-obvious decision: two numbers that stand side by side stay two ("one two three") unless they are a year or a
larger number by the rules of English. It knows nothing of fractions, dozens and Roman numerals.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"  # noqa: E501
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
SMALL = {word: n for n, word in enumerate(ONES.split())} | {w: 10 * n for n, w in enumerate(TENS.split(), 2)}
SMALL["fourty"] = 40  # the usual misspelling
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
IRREGULAR = {"first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12}
ORDINALS = (
    {word + "th": n for word, n in SMALL.items() if n}
    | {word[:-1] + "ieth": n for word, n in SMALL.items() if word.endswith("y")}
    | IRREGULAR
)
STARTS = {*SMALL, *ORDINALS, *SCALES, "hundred", "point"}
INTEGER = re.compile(r"\d+")
DECIMAL = re.compile(r"\d+\.\d+")


class Number(NamedTuple):
    """A number read from words[start:end], as its digits."""

    text: str
    end: int


def with_digits(words: Sequence[str]) -> list[str]:
    """The words with each spoken number replaced by its digits."""
    out: list[str] = []
    at = 0
    while at < len(words):
        number = _number_at(words, at) if words[at] in STARTS or words[at][0].isdigit() else None
        out.append(words[at] if number is None else number.text)
        at = at + 1 if number is None else number.end
    return out


def _number_at(words: Sequence[str], start: int) -> Number | None:
    """The longest number that begins at a word."""
    if words[start] in ORDINALS:
        return Number(f"{ORDINALS[words[start]]}th", start + 1)
    if DECIMAL.fullmatch(words[start]):
        return _scaled(words[start], words, start + 1)
    whole, at = _whole(words, start)
    if whole is not None and at < len(words) and words[at] in ORDINALS:
        n = ORDINALS[words[at]]
        if whole % 100 == 0 or (n < 10 and whole % 10 == 0 and whole % 100 >= 20):
            return Number(f"{whole + n}th", at + 1)
    decimals, end = _decimals(words, at)
    if decimals:
        return _scaled(f"{whole or 0}.{decimals}", words, end)
    return None if whole is None else Number(str(whole), at)


def _scaled(decimal: str, words: Sequence[str], at: int) -> Number:
    """A decimal number, and the scale after it if there is one: "5.5 million"."""
    scale = SCALES.get(words[at]) if at < len(words) else None
    return Number(decimal, at) if scale is None else Number(str(round(float(decimal) * scale)), at + 1)


def _whole(words: Sequence[str], start: int) -> tuple[int | None, int]:
    """A whole number from `start` on and where it ends; None if there is none."""
    total, group, at = 0, None, start
    while at < len(words):
        word = words[at]
        if word in SMALL:
            joined = _joined(group, SMALL[word], total)
            if joined is None:
                break
            group = joined
        elif INTEGER.fullmatch(word) and at == start:
            group = int(word)
        elif word in ("oh", "o") and _is_year_start(group, total) and _small_at(words, at + 1, 1, 9) is not None:
            group = (group or 0) * 100
        elif word == "hundred" and ((group is None and at == start) or (group is not None and 0 < group < 100)):
            group = 100 * (1 if group is None else group)
        elif word.rstrip("s") in SCALES and ((at == start and word in SCALES) or group is not None):
            scale = SCALES[word.rstrip("s")]
            if total and scale >= _smallest_scale(total):
                break
            total, group = total + (1 if group is None else group) * scale, None
        elif word != "and" or not _goes_on(words, at, group, total):
            break
        at += 1
    found = at > start
    return (total + (group or 0) if found else None), at


def _joined(group: int | None, n: int, total: int) -> int | None:
    """A number said after another one of the same group: 20 and 1 are 21, 19 and 60 are the year 1960; else None."""
    if group is None:
        return n
    if group >= 100 and group % 100 == 0 and n > 0:
        return group + n
    if 0 < n < 10 and group % 10 == 0 and group % 100 >= 20:
        return group + n
    return group * 100 + n if n >= 10 and _is_year_start(group, total) else None


def _is_year_start(group: int | None, total: int) -> bool:
    return group is not None and 10 <= group <= 99 and total == 0


def _small_at(words: Sequence[str], at: int, low: int, high: int) -> int | None:
    n = SMALL.get(words[at]) if at < len(words) else None
    return n if n is not None and low <= n <= high else None


def _smallest_scale(total: int) -> int:
    return min(scale for scale in SCALES.values() if total % (scale * 1000) or scale == 10**12)


def _goes_on(words: Sequence[str], at: int, group: int | None, total: int) -> bool:
    """Whether "and" at `at` is part of a number: "two hundred and six", not "two and six"."""
    ends_round = (group is None and total > 0) or (group is not None and group >= 100 and group % 100 == 0)
    following = words[at + 1] if at + 1 < len(words) else ""
    return ends_round and (following in SMALL or following in ORDINALS)


def _decimals(words: Sequence[str], at: int) -> tuple[str, int]:
    """The digits said after "point", and where they end; "" if there are none."""
    if at >= len(words) or words[at] != "point":
        return "", at
    digits, end = "", at + 1
    while (n := _small_at(words, end, 0, 9)) is not None:
        digits, end = digits + str(n), end + 1
    return digits, end

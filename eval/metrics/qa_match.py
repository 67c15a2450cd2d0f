"""Finds an accepted answer among the words of a reply: which alias, which words, and how the speaker stands to it.

An alias counts where its words stand one after another, as `text_fold` folds them, articles and "and" passed over; or
where their letters do, so that "U S A", "U.S.A." and "USA" are one. Aliases of one or two letters need a rule of
their own, because "I" and "as" are also words: they must be named as a letter is ("the symbol is I"). What repeats
the question is passed over. The stance is decided in `qa_stance`.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from eval.metrics.qa_stance import Stance, stance
from eval.metrics.text_fold import ARTICLES, Folded, folded

WORDLIKE = frozenset({"a", "i", "o", "u", "y", "as", "at", "be", "he", "in", "no", "so", "do", "go", "us",
                      "it", "is", "an", "am", "or", "me", "my", "we", "of", "on", "to", "up", "by",
                      "if", "ah", "oh", "hi", "ok", "pa", "ma", "la", "mo"})  # fmt: skip
LETTERS = {"see": "c", "sea": "c", "bee": "b", "eye": "i", "tea": "t", "tee": "t", "pea": "p", "pee": "p", "oh": "o",
           "jay": "j", "kay": "k", "el": "l", "em": "m", "en": "n", "cue": "q", "queue": "q", "ar": "r", "are": "r",
           "ess": "s", "ex": "x", "why": "y", "you": "u", "gee": "g", "dee": "d", "ef": "f", "vee": "v",
           "zee": "z", "zed": "z", "aye": "i", "ay": "a"}  # fmt: skip
PASSED_OVER = ARTICLES | {"and"}  # "red, green, blue" is "red, green and blue"
CUES = frozenset({"is", "letter", "symbol", "type", "vitamin", "called", "with", "just", "equal", "capital", "group",
                  "grade", "note", "element"})  # fmt: skip
SPELLING = frozenset({"capital", "lower", "upper", "case", "lowercase", "uppercase", "big", "small", "little",
                      "letter", "then"})  # fmt: skip
ECHO = 4  # words in a row that repeat the question, at least ...
ECHO_SHARE = 0.6  # ... and at least this share of it


class Found(NamedTuple):
    """An accepted answer in a reply; `text` is how it was said, folded."""

    alias: str
    text: str
    stance: Stance


class _View(NamedTuple):
    """The words of a reply with some left out, and where each stands in it."""

    words: tuple[str, ...]
    at: tuple[int, ...]


def find_alias(answer: str, aliases: Sequence[str], question: str = "") -> str | None:
    """The first alias the answer affirms; None if it affirms none."""
    found = match_answer(answer, aliases, question)
    return found.alias if found is not None and found.stance == "affirmed" else None


def match_answer(answer: str, aliases: Sequence[str], question: str = "") -> Found | None:
    """An affirmed alias, else one that is denied or left open, else None.

    An alias that folds to nothing (only articles or signs) matches nothing.
    """
    return _match(answer, tuple(aliases), question)


@lru_cache(maxsize=16_384)  # several metrics ask for the same answer
def _match(answer: str, aliases: tuple[str, ...], question: str) -> Found | None:
    said = folded(answer)
    wanted = _wanted(aliases)
    views = _views(said)
    echoed = _echoed(views[0], question)
    asked = frozenset(folded(question).words)
    found: Found | None = None
    for alias, forms in zip(aliases, wanted, strict=True):
        for start, end in _places(said, views, forms):
            if all(i in echoed for i in range(start, end)):
                continue
            how = stance(said, start, end, lambda i, j: _accepted(said, i, j, wanted), asked)
            if how == "affirmed":
                return Found(alias, " ".join(said.words[start:end]), how)
            found = found or Found(alias, " ".join(said.words[start:end]), how)
    return found


class _Forms(NamedTuple):
    """An alias as it may be said: lists of words, and its letters run together (None: too short for that)."""

    words: frozenset[tuple[str, ...]]
    letters: str | None
    symbol: str | None  # the alias if it has only one or two letters


@lru_cache(maxsize=4_096)
def _wanted(aliases: tuple[str, ...]) -> tuple[_Forms, ...]:
    return tuple(_forms(alias) for alias in aliases)


def _forms(alias: str) -> _Forms:
    every = folded(alias).words
    words = tuple(w for w in every if w not in PASSED_OVER)
    joined = "".join(every)
    if joined.isalpha() and len(joined) <= 2 and len(every) <= 2 and joined not in ("an",):
        return _Forms(frozenset(), None, joined if alias.strip() and joined != "the" else None)
    forms = {words} if words else set()
    for i, word in enumerate(words[1:], 1):  # Henry 8 and Henry 8th, July 4 and July 4th
        if match := re.fullmatch(r"(\d+)(th)?", word):
            forms.add((*words[:i], match[1] if match[2] else match[1] + "th", *words[i + 1 :]))
    letters = joined if words and len(joined) >= 3 and not joined.replace(".", "").isdigit() else None
    return _Forms(frozenset(forms), letters, None)


def _views(said: Folded) -> tuple[_View, _View, _View]:
    """Without articles and "and"; with all words; without the words that only help to spell."""

    def without(left_out: frozenset[str]) -> _View:
        at = tuple(i for i, word in enumerate(said.words) if word not in left_out)
        return _View(tuple(said.words[i] for i in at), at)

    return without(PASSED_OVER), without(frozenset()), without(SPELLING)


def _places(said: Folded, views: Sequence[_View], forms: _Forms) -> list[tuple[int, int]]:
    """Every stretch of the reply's words that says the alias."""
    bare, every, spelled = views
    if forms.symbol is not None:
        return _symbols(said, spelled, forms.symbol)
    found = []
    for form in forms.words:
        n = len(form)
        for i, word in enumerate(bare.words):
            if word == form[0] and bare.words[i : i + n] == form:
                found.append((bare.at[i], bare.at[i + n - 1] + 1))
    if forms.letters is not None and not found:
        found = [*_run_together(bare, forms.letters), *_run_together(every, forms.letters)]
    return found


def _run_together(view: _View, letters: str) -> list[tuple[int, int]]:
    """Where whole words, written without spaces, are these letters."""
    found = []
    for i, word in enumerate(view.words):
        if not letters.startswith(word):
            continue
        end, run = i + 1, word
        while len(run) < len(letters) and end < len(view.words):
            run += view.words[end]
            end += 1
        if run == letters:
            found.append((view.at[i], view.at[end - 1] + 1))
    return found


def _symbols(said: Folded, spelled: _View, symbol: str) -> list[tuple[int, int]]:
    """Where a symbol of one or two letters is named."""
    found = []
    if len(symbol) == 2:
        found = [(i, j) for i, j in _run_together(spelled, symbol) if j - i > 1]
    words = said.words
    for i, word in enumerate(words):
        plain_symbol = word == symbol and symbol not in WORDLIKE
        if plain_symbol or (symbol in (word, LETTERS.get(word)) and _named(said, i)):
            found.append((i, i + 1))
    return found


def _named(said: Folded, at: int) -> bool:
    """Whether a word that is also a letter stands where only a letter would: alone, or last in a clause after a cue."""
    if len(said.words) == 1:
        return True
    ends = at + 1 == len(said.words) or bool(said.breaks[at + 1])
    before = next((w for w in reversed(said.words[:at]) if w not in ARTICLES), "")
    if said.breaks[at] or not before:
        return ends and said.words[at] not in LETTERS
    return (ends and before in CUES) or before in ("letter", "symbol", "vitamin", "type")


def _accepted(said: Folded, start: int, end: int, wanted: Sequence[_Forms]) -> bool:
    words = tuple(word for word in said.words[start:end] if word not in PASSED_OVER)
    joined = "".join(said.words[start:end])
    return bool(words) and any(words in f.words or joined in (f.letters, f.symbol) for f in wanted)


def _echoed(view: _View, question: str) -> frozenset[int]:
    """The places of words that repeat the question in its own order, at some length."""
    asked = tuple(word for word in folded(question).words if word not in PASSED_OVER) if question else ()
    least = max(ECHO, ECHO_SHARE * len(asked))
    found: set[int] = set()
    if len(asked) < ECHO:
        return frozenset()
    for i in range(len(view.words)):
        for j in range(len(asked)):
            n = 0
            while i + n < len(view.words) and j + n < len(asked) and view.words[i + n] == asked[j + n]:
                n += 1
            if n >= least:
                found.update(view.at[i : i + n])
    return frozenset(found)

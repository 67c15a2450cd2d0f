"""Text -> comparable words, with the places where a clause ends.

Owns what counts as the same word: accents and case go, contractions are written out, numbers become digits, British
spelling becomes American, plurals become singular, "$5" is "5 dollar" and "7 %" is "7 percent". The one non-obvious
decision: articles stay in the list and are passed over when two texts are compared, because the A of "U S A" is none.
Punctuation is kept as breaks beside the words, since a denial ends with its clause.
"""

import re
import unicodedata
from functools import cache, lru_cache
from typing import Any, NamedTuple

from eval.metrics.text_numbers import with_digits

ARTICLES = frozenset({"a", "an", "the"})
SENTENCE, CLAUSE = ".", ","
MARKS = (SENTENCE, CLAUSE)
NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+"
TOKEN = re.compile(  # words, numbers, and the marks that end a clause
    rf"(?:{NUMBER})(?![^\W_])|[^\W_]+|[.!?…]+(?=\W|$)|[,;:()\"“”]|(?<=\s)[–—-]+(?=\s)|—|&|%"  # noqa: RUF001
)
CONTRACTIONS = [
    (re.compile(pattern), new)
    for pattern, new in (
        (r"[’‘`´]", "'"),  # noqa: RUF001
        (r"\bcan't\b|\bcannot\b|\bcant\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"n't\b", " not"),
        (r"\b(dont|doesnt|isnt|wasnt|arent|didnt|wouldnt)\b", lambda m: m[1][:-2] + " not"),
        (r"\b(it|that|this|there|here|he|she|what|who|where)'s\b", r"\1 is"),
        (r"'(?:s|m|re|ve|ll|d)\b", ""),
        (r"s'(?=\s|$)", "s"),
        (r"'", ""),
        (r"\bper cent\b", "percent"),
        (r"\bworld war\b(?=.)|\bww(?=ii?\b|1\b|2\b)", "world war "),
        (rf"\$\s*({NUMBER})(\s+(?:thousand|million|billion|trillion))?", r"\1\2 dollars"),
        (rf"€\s*({NUMBER})(\s+(?:thousand|million|billion|trillion))?", r"\1\2 euros"),
        (rf"£\s*({NUMBER})(\s+(?:thousand|million|billion|trillion))?", r"\1\2 pounds"),
    )
]
NUMERALS = ["ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv",
            "xv", "xvi", "xvii", "xviii", "xix", "xx", "xxi", "xxii", "xxiii"]  # fmt: skip
ROMAN = {numeral: str(n) for n, numeral in enumerate(NUMERALS, 2)}
COUNTED = {"war", "part", "type", "phase", "volume", "chapter", "class", "act"}  # "Part V", "War I"
LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"}
)  # letters that no decomposition takes apart
FILLERS = frozenset({"uh", "um", "er", "erm", "hmm", "mm", "mhm", "uhm", "ah"})


class Folded(NamedTuple):
    """Words, and what stands before each: nothing, the end of a clause or of a sentence."""

    words: tuple[str, ...]
    breaks: tuple[str, ...]  # [n]: "", CLAUSE or SENTENCE


def plain(text: str) -> str:
    """Lower case without accents."""
    letters = unicodedata.normalize("NFKD", text).casefold().translate(LETTERS)
    return "".join(c for c in letters if not unicodedata.combining(c))


@lru_cache(maxsize=65_536)
def folded(text: str) -> Folded:
    """Text as comparable words; articles stay, fillers go."""
    text = plain(text)
    for pattern, new in CONTRACTIONS:
        text = pattern.sub(new, text)
    words: list[str] = []  # a break stands in the list as its own mark, so that no number runs over it
    for token in TOKEN.findall(text):
        if token in FILLERS:
            continue
        if token[0].isalnum() or token in "&%" or token[-1].isdigit():
            words.append(_word(token, words))
        elif words:
            mark = SENTENCE if token[0] in ".!?…" else CLAUSE
            if words[-1] not in MARKS:
                words.append(mark)
            elif mark == SENTENCE:
                words[-1] = mark
    out: list[str] = []
    breaks: list[str] = []
    mark = ""
    for word in with_digits(words):
        if word in MARKS:
            mark = word
        else:
            out.append(_singular(word))
            breaks.append(mark)
            mark = ""
    return Folded(tuple(out), tuple(breaks))


def fold(text: str) -> tuple[str, ...]:
    """Text as comparable words, without articles."""
    return tuple(word for word in folded(text).words if word not in ARTICLES)


def _word(token: str, before: list[str]) -> str:
    if token in "&%":
        return "and" if token == "&" else "percent"
    if token[0].isdigit() or token[0] == ".":
        return _digits(token)
    if token in ROMAN and before and (len(token) > 1 or before[-1] in COUNTED):
        return ROMAN[token]
    if token == "i" and before and before[-1] in COUNTED:
        return "1"
    return _spelling().get(token, token)


def _digits(token: str) -> str:
    ordinal = re.fullmatch(r"(\d+)(?:st|nd|rd|th)", token)
    if ordinal:
        return ordinal[1].lstrip("0") + "th"
    token = token.replace(",", "")
    if token.startswith("."):
        token = "0" + token
    return token if token[0] != "0" or "." in token else token.lstrip("0") or "0"


def _singular(word: str) -> str:
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")) or not word.isalpha():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes")) or (word.endswith(("toes", "roes")) and len(word) > 5):
        return word[:-2]
    return word[:-1]


@cache
def _spelling() -> dict[str, str]:
    from whisper_normalizer.english import EnglishSpellingNormalizer

    mapping: Any = EnglishSpellingNormalizer().mapping
    return dict(mapping)

"""Sentences out of text that is still coming: each as soon as it is sure that it is whole.

A sentence ends with its mark and the white space behind it, so "3.5" stays whole and the last one waits for the end.
Titles and single letters before a full stop end nothing. Markup that a voice would read out is taken away.
"""

import re

ENDS = re.compile(r"[.!?…]+[\"'”\u2019)\]]*\s+|\n+")
INITIAL = re.compile(r"(?:^|\s)[A-Z]\.\s*$")
TITLE = re.compile(r"\b(?:mr|mrs|ms|dr|prof|st|vs|e\.g|i\.e)\.\s*$", re.IGNORECASE)
MARKUP = re.compile(r"[*_#`~|<>]+|^\s*[-•]\s+", re.MULTILINE)


class Sentences:
    def __init__(self) -> None:
        self._text = ""

    def push(self, text: str) -> list[str]:
        """The sentences that `text` completes."""
        self._text += text
        found, start = [], 0
        for end in ENDS.finditer(self._text):
            sentence = self._text[start : end.end()]
            if TITLE.search(sentence) or INITIAL.search(sentence):
                continue
            found.append(sentence)
            start = end.end()
        self._text = self._text[start:]
        return _spoken(found)

    def rest(self) -> list[str]:
        """What is left when no more comes."""
        left, self._text = self._text, ""
        return _spoken([left])


def _spoken(found: list[str]) -> list[str]:
    """Without markup, and only what has something to say in it."""
    plain = (" ".join(MARKUP.sub(" ", sentence).split()) for sentence in found)
    return [sentence for sentence in plain if any(letter.isalnum() for letter in sentence)]

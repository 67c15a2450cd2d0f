"""What of a talk is the answer: the agent's words from the question's end on, and why there may be none.

The answer begins where the question ends. An agent that is under way then (no gap of a second before) is read from
where it began, so an eager answer is not cut in half. Words that ended before the question did are no answer, and
neither is a greeting: in both cases the talk gets an outcome of its own instead of a chance to contain the answer.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from eval.metrics.base import Heard
from eval.metrics.text_fold import folded
from protocols.records import Transcript, Word
from protocols.timeline import Span

RUN_GAP = 1.0  # seconds; words closer than this are one run of speech

Silence = Literal["no_answer", "early", "greeting_only"]

GREETING = re.compile(
    r"(?:(?:hello|hi|hey|hiya|yo|welcome|good (?:morning|afternoon|evening|day)|there|again|everyone|friend"
    r"|how (?:are|is) (?:you|it|everything|thing)(?: (?:doing|going))?(?: today| tonight)?|how do you do|what is up"
    r"|what (?:can|may) i (?:do for|help)(?: you)?(?: with)?(?: today)?"
    r"|how (?:can|may) i (?:help|assist|be of (?:help|service))(?: you)?(?: today)?"
    r"|(?:nice|good|great) to (?:meet|see|hear from) you|thank for calling|what is on your mind(?: today)?"
    r"|what would you like to (?:know|talk about|discuss)(?: today)?|okay|so|well|and|oh|yeah|yes)(?: |$))+"
)
GREETED = re.compile(
    r"\b(?:hello|hi|hey|hiya|welcome|good (?:morning|afternoon|evening|day)|how |what (?:can|is|would)|nice to)"
)


class Answer(NamedTuple):
    """The words read as the answer; none, and which silence it is."""

    words: tuple[Word, ...]
    silence: Silence | None

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def span(self) -> Span:
        """From the first word to the last; there must be one."""
        return Span(min(w.start for w in self.words), max(w.end for w in self.words))


def answer_of(heard: Heard, transcript: Transcript) -> Answer:
    """The agent's answer to a talk's first turn; in a talk without turns all it says."""
    turns = heard.events("turn")
    question = Span(turns[0][1].start, turns[0][1].end) if turns else Span(0.0, 0.0)
    words = transcript.words
    later = tuple(word for word in words if word.end > question.end)
    if not later:
        if any(word.end > question.start for word in words):
            return Answer((), "early")
        return Answer((), "greeting_only" if words else "no_answer")
    answer = (*_under_way(words, later[0], question), *later)
    text = " ".join(word.text for word in answer)
    return Answer((), "greeting_only") if is_greeting(text) else Answer(answer, None)


def _under_way(words: Sequence[Word], first: Word, question: Span) -> tuple[Word, ...]:
    """The words just before the first one after the question that belong to the same run and began inside it."""
    before = [word for word in words if question.start <= word.start and word.end <= question.end]
    run: list[Word] = []
    following = first
    for word in reversed(before):
        if following.start - word.end >= RUN_GAP:
            break
        run.insert(0, word)
        following = word
    return tuple(run)


def is_greeting(text: str) -> bool:
    """Whether a text greets and does nothing else."""
    said = " ".join(folded(text).words)
    return bool(GREETING.fullmatch(said)) and bool(GREETED.search(said))

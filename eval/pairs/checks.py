"""What makes a talk unfit for pairs: each has a name, so that a build counts what it left out and goes on.

Channels are called swapped where the words the system says it said lie in the user's sound and not in the agent's. A
transcript is a failed one where a recogniser repeats itself or says more words than anybody can; and it is not English
where most of its letters are not, or none of many words is among the commonest.
"""

import re
from collections.abc import Sequence
from itertools import groupby

from eval.pairs.settings import PairSettings
from eval.pairs.talks import Exclusion, RawTalk, Reason
from protocols.records import Word
from protocols.timeline import Track, at

SLACK = 0.1  # seconds an alignment may lie outside the audio
REPEATS = 6  # times one word may stand in a row
WORDS_PER_SECOND = 9.0
ENOUGH_WORDS = 20  # to tell a language by
COMMON = frozenset(
    [
        "the",
        "a",
        "an",
        "i",
        "you",
        "it",
        "is",
        "are",
        "was",
        "to",
        "of",
        "and",
        "in",
        "that",
        "what",
        "do",
        "not",
        "yes",
        "no",
        "my",
        "me",
        "we",
        "so",
        "how",
        "for",
        "on",
        "this",
        "be",
        "have",
        "can",
        "please",
        "know",
        "tell",
    ]
)


def unfit(raw: RawTalk, settings: PairSettings) -> Exclusion | None:
    """Why a talk can give no pairs; None if it can."""
    heard = raw.heard
    agent, user = heard.spans("agent"), heard.spans("user")
    known = heard.model_transcript() or heard.speech_transcript()
    said = known.words if known else ()

    def out(reason: Reason, detail: str) -> Exclusion:
        return Exclusion(raw.id, reason, detail)

    if heard.duration < settings.shortest_talk:
        return out("too_short", f"{heard.duration:.2f} s; a turn and a reply need {settings.shortest_talk:g} s")
    if "swapped" in heard.listening.guards or swapped(said, agent, user):
        return out("swapped", "the agent's words lie in the user's sound: the channels are swapped")
    if not user:
        return out("missing_side", "the user never speaks")
    beyond = next((w for w in (*said, *raw.user_words) if w.end > heard.duration + SLACK or w.start < -SLACK), None)
    if beyond is not None:
        return out(
            "outside", f"{beyond.text!r} at {beyond.start:.2f} s lies outside the {heard.duration:.2f} s of sound"
        )
    for side, words in (("agent", said), ("user", raw.user_words)):
        if why := failed(words):
            return out("asr_failed", f"{side}: {why}")
    if not english([w.text for w in (*said, *raw.user_words)]):
        return out("not_english", "the transcript does not look like English")
    return None


def swapped(words: Sequence[Word], agent: Track, user: Track) -> bool:
    """Most of the agent's words sound in the user's channel, and few in its own."""
    middles = [(w.start + w.end) / 2 for w in words]
    if len(middles) < 3:
        return False
    own, other = (sum(at(spans, m) is not None for m in middles) / len(middles) for spans in (agent, user))
    return own < 0.3 and other > 0.7


def failed(words: Sequence[Word]) -> str | None:
    """Why a transcript cannot be one of speech."""
    runs = [(word, sum(1 for _ in group)) for word, group in groupby(w.text.casefold().strip(".,!?") for w in words)]
    word, most = max(runs, key=lambda run: run[1], default=("", 0))
    if most >= REPEATS:
        return f"{word!r} stands {most} times in a row"
    if len(words) >= ENOUGH_WORDS:
        span = max(w.end for w in words) - min(w.start for w in words)
        if span <= 0 or len(words) / span > WORDS_PER_SECOND:
            return f"{len(words)} words in {span:.1f} s"
    return None


def english(words: Sequence[str]) -> bool:
    """True unless the words show otherwise; a few words show nothing but their letters."""
    letters = [c for word in words for c in word if c.isalpha()]
    if letters and sum(c.isascii() for c in letters) / len(letters) < 0.8:
        return False
    plain = [re.sub(r"[^a-z']", "", w.casefold()) for w in words]
    return len(plain) < ENOUGH_WORDS or any(w in COMMON for w in plain)

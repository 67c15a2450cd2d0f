"""What makes a talk unfit for pairs: each has a name, so that a build counts what it left out and goes on.

Channels are called swapped where the words the system says it said lie in the user's sound and not in the agent's. A
transcript is a failed one where a recogniser repeats itself or says more words than anybody can; and it is not English
where most of its letters are not, or none of many words is among the commonest.
"""

import re
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from eval.pairs.settings import PairSettings
from eval.pairs.talks import Exclusion, RawTalk, Reason
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.records import Word
from protocols.replies import GridLayout, Tokens
from protocols.timeline import Track, at

LOUDER = 10.0  # in power, of the channel that a word sounds on
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


def unfit(raw: RawTalk, settings: PairSettings, layout: GridLayout | None = None) -> Exclusion | None:
    """Why a talk can give no pairs; None if it can. `layout`: what its token grid should be."""
    heard = raw.heard
    agent, user = heard.spans("agent"), heard.spans("user")
    known = heard.model_transcript() or heard.speech_transcript()
    said = known.words if known else ()

    def out(reason: Reason, detail: str) -> Exclusion:
        return Exclusion(raw.id, reason, detail)

    if heard.duration < settings.shortest_talk:
        return out("too_short", f"{heard.duration:.2f} s; a turn and a reply need {settings.shortest_talk:g} s")
    if layout is not None and (why := misfit(raw.tokens, layout)) is not None:
        return out("other_layout", why)
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


def misfit(tokens: Tokens | None, layout: GridLayout) -> str | None:
    """Why a token grid is not of a layout."""
    if tokens is None:
        return None
    if not layout.streams:
        return f"its grid of {len(tokens)} rows is of no layout that is known; say which with --layout"
    if tokens.ndim != 2 or len(tokens) != layout.streams:
        return f"its grid is {list(tokens.shape)}; the layout has {layout.streams} rows"
    audio = tokens[1:]
    if layout.card and audio.size and int(audio.max()) >= layout.card:
        return f"its grid has code {int(audio.max())}; the layout's go to {layout.card - 1}"
    return None


def swapped(words: Sequence[Word], agent: Track, user: Track) -> bool:
    """Most of the agent's words sound in the user's channel, and few in its own."""
    middles = [(w.start + w.end) / 2 for w in words]
    if len(middles) < 3:
        return False
    own, other = (sum(at(spans, m) is not None for m in middles) / len(middles) for spans in (agent, user))
    return own < 0.3 and other > 0.7


def swapped_sound(words: Sequence[Word], audio: Audio) -> bool:
    """The agent's words are loud on the user's channel and not on its own. `audio`: [2, n] at 24 kHz."""
    inside = [audio[:, round(w.start * SAMPLE_RATE) : round(w.end * SAMPLE_RATE)] for w in words]
    powers = [np.square(part).mean(axis=1) for part in inside if part.shape[1]]
    other = sum(bool(user > LOUDER * agent) for agent, user in powers)
    own = sum(bool(agent > LOUDER * user) for agent, user in powers)
    return len(powers) >= 3 and other > 0.7 * len(powers) and own < 0.3 * len(powers)


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

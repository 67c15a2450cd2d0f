"""Every threshold of the timing metrics, in one frozen value, and the rule that tells a turn from a backchannel.

Rankings of systems flip with these numbers, so they are parameters, printed in a scorer's version when turned and
swept by `eval.metrics.timing.sweep`. By default short speech is a backchannel only if its words show it: an answer
of one word ("Paris.") takes the turn, "mm-hmm" does not, and speech whose words nobody wrote down is never excused.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

ACKNOWLEDGEMENT = re.compile(
    r"(?:(?:m+h?m+|u+h ?hu+h|hu+h|h+m+|a+h+|o+h+|yeah|yep|yup|ok|okay|right|alright|all right|sure|wow|really|i see|"
    r"got it|of course)(?: |$))+"
)


class TakeoverRule(NamedTuple):
    """When agent speech takes the floor: when it is long, or says much, or (lexical) says more than "mm-hmm"."""

    name: str
    seconds: float = 1.0  # speech this long takes it
    words: int | None = 3  # and so do more words than this; None: words are not counted
    lexical: bool = False  # and so does short speech that is not all acknowledgement, or has no known words


STRICT = TakeoverRule("strict", lexical=True)
SECONDS_OR_WORDS = TakeoverRule("1 s or more than 3 words")
SECONDS_ONLY = TakeoverRule("1 s", words=None)


def takeover(duration: float, words: Sequence[str] | None, rule: TakeoverRule = STRICT) -> bool:
    """Does agent speech of that length and those words take the floor? `words` None: nobody wrote them down."""
    if duration >= rule.seconds:
        return True
    if rule.words is not None and len(words or ()) > rule.words:
        return True
    return rule.lexical and not (words and is_acknowledgement(words))


def is_acknowledgement(words: Sequence[str]) -> bool:
    """True if the words are nothing but "mm-hmm", "yeah", "I see" and the like; False for no words."""
    text = " ".join(re.sub(r"[^a-z ]", "", word.casefold().replace("-", "")) for word in words)
    return ACKNOWLEDGEMENT.fullmatch(text) is not None


class TimingSettings(NamedTuple):
    """What can be turned. Seconds."""

    takeover: TakeoverRule = STRICT
    breath: float = 0.5  # a silence this long ends the agent's hold of the floor; a shorter one is part of it
    max_wait: float = 3.0  # after a turn, in which an answer still belongs to it
    min_take: float = 0.2  # agent speech in a pause that takes the turn
    early_reply: float = 0.5  # before the user's end, from where on speech is an early answer and no cut-in
    react_within: float = 2.0  # after an event's onset, in which a stop counts as a reaction to it
    resume_within: float = 2.0  # after a stop or the event's end, in which going on counts as taking up the thread
    quiet_for: float = 2.0  # after speech to others, in which agent speech counts as a reaction to it
    replay_silence: float = 1.6  # 20 frames of 80 ms without a word end a reply

    def turned(self) -> str:
        """Settings that are not the default, for a scorer's version; "" if none is."""
        defaults = TimingSettings._field_defaults
        changed = {k: v for k, v in self._asdict().items() if v != defaults[k]}
        return "".join(f",{k}={v.name if isinstance(v, TakeoverRule) else f'{v:g}'}" for k, v in changed.items())


DEFAULT = TimingSettings()

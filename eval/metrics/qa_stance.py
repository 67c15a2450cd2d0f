"""Whether an answer stands behind the words in it: affirmed, denied, taken back, or one of several offers.

Owns the rules, which are about English and not about any question. The one non-obvious decision: a guess counts
("maybe Paris"), a choice left open does not ("Paris or Lyon", four names in a row), and where a speaker corrects
himself the last word counts ("Paris, no wait, Lyon"). It reads words and clause breaks only, so also an ASR's text
without punctuation. It does not understand: a name that is merely mentioned counts as affirmed, unless another answer
stands before it and the mention hangs on that ("Lyon, which is far from Paris").
"""

from collections.abc import Callable, Sequence
from typing import Literal

from eval.metrics.text_fold import ARTICLES, CLAUSE, SENTENCE, Folded

Stance = Literal["affirmed", "denied", "open"]
Said = Callable[[int, int], bool]  # are these words an accepted answer

NEGATIONS = {"not", "never", "neither", "nor", "nobody", "hardly"}
NO = {"no", "nothing", "none", "nobody", "not"}
KNOWING = {
    "know",
    "sure",
    "certain",
    "remember",
    "recall",
    "positive",
    "only",
    "just",
    "get",
    "go",
    "help",
    "worry",
    "have",
}
BELIEVERS = {"people", "some", "many", "most", "you", "they", "other", "everyone", "one"}
BELIEFS = {"think", "say", "believe", "assume", "guess", "thought", "said"}
CONTRAST = {"but", "actually", "however", "really"}
REPORTED = {
    "think",
    "believe",
    "say",
    "suppose",
    "guess",
    "that",
    "if",
    "whether",
    "because",
    "mean",
    "thought",
    "said",
}
RESTARTS = {("it", "is"), ("it", "was"), ("that", "is"), ("that", "was"), ("they", "are"),
            ("i", "think"), ("i", "mean"), ("i", "believe"), ("i", "guess"), ("my", "guess"),
            ("i", "would")}  # fmt: skip
TAKEN_BACK = (
    ("no", "wait"),
    ("wait", "no"),
    ("i", "mean"),
    ("scratch", "that"),
    ("oh", "no"),
    ("no", "sorry"),
    ("or", "rather"),
)
JOINS = {"so", "more", "less", "something", "whatever", "not", "as", "also", "precisely"}  # "eight or so"
VERBS = {"is", "are", "was", "were"}
HANGS = {"who", "whom", "whose", "which", "where", "near", "beside", "behind", "unlike", "while", "whereas", "though",
         "although", "after", "following"}  # fmt: skip
OPENERS = {"well", "so", "oh", "okay", "yes", "i", "think", "believe", "guess", "it", "is", "was", "that", "this",
           "must", "be", "would", "maybe", "perhaps", "probably", "definitely", "surely", "of", "course", "right",
           "just", "my", "answer", "very", "close"}  # fmt: skip
ANYTHING = {"anything", "anybody", "anyone", "everybody", "everyone", "everything"}
TIES = {"of", "to", "with", "against"}  # "Jonson, a friend of Shakespeare"
NAMES = {"called", "named", "known", "say", "said", "mean", "name", "call"}  # also "known as"
COMES = NAMES | {"come", "came", "modeled", "look", "take", "took"}  # "named after Vespucci", "comes after Monday"
HEAD = 3  # words of another answer
REACH = 10  # words a denial reaches without a break
ASIDE = 5  # words after "sorry" or "I mean" above which they correct nothing
LIST = 4  # names in a row that are no answer any more


def stance(text: Folded, start: int, end: int, accepted: Said, asked: frozenset[str] = frozenset()) -> Stance:
    """How the speaker stands to words[start:end]. `asked`: the words of the question."""
    clause = _clause(text, start, end)
    if _denied_before(text, clause, start) or _denied_after(text, clause, end):
        return "denied"
    if _beside_another(text, start, accepted, asked):
        return "denied"
    if _others_say(text, clause, start, end) or _taken_back(text, start, end, accepted):
        return "denied"
    if _choice(text, start, end, accepted) or _enumerated(text, start, end, accepted):
        return "open"
    return "affirmed"


def _clause(text: Folded, start: int, end: int) -> range:
    """The words around words[start:end] up to a break, a "but", or a new subject with its verb."""
    first = start
    while first > 0 and not text.breaks[first] and not _restarts(text.words, first):
        if text.words[first] == "but" and text.words[first - 1] not in ANYTHING | {"nothing", "none", "all"}:
            break
        first -= 1
    last = end
    while last < len(text.words) and not text.breaks[last] and text.words[last] != "but":
        if _restarts(text.words, last):
            break
        last += 1
    return range(first, last)


def _restarts(words: Sequence[str], at: int) -> bool:
    return tuple(words[at : at + 2]) in RESTARTS and words[at - 1] not in REPORTED | NO


def _before(words: Sequence[str], at: int, n: int, first: int) -> list[str]:
    """The last n words before `at` without articles, not reaching before `first`."""
    return [w for w in words[first:at] if w not in ARTICLES][-n:]


def _denied_before(text: Folded, clause: range, start: int) -> bool:
    words = text.words
    near = _before(words, start, 4, clause.start)
    if not near:
        return False
    if near[-1] in ("than", "before", "below", "above") or near[-2:] == ["instead", "of"]:
        comparison = not (near[-1] == "than" and NO & set(words[clause.start : start]))
        return near[-2:] != ["other", "than"] and comparison
    if near[-1] in ("after", "behind") and not COMES & set(near):
        return True  # "the third largest after Greenland", "1990, right after 1989"
    if len(near) > 1 and near[-2] in ANYTHING and near[-1] == "but":
        return True
    if near[-2:] in (["used", "to"], ["rather", "than"]) or near[-1] == "no":
        return True
    if "used" in near and "to" in near and "be" in near:
        return True
    for at in range(start - 1, max(clause.start, start - REACH) - 1, -1):
        if words[at] in NEGATIONS and not _harmless(words, at) and not _past_verb(words[at + 1 : start]):
            return True
    return False


def _past_verb(between: Sequence[str]) -> bool:
    """A verb ends what a "not" before it denies: "something not heavy is light", but "I do not think it is light"."""
    verb = next((i for i, word in enumerate(between) if word in VERBS), None)
    return verb is not None and not REPORTED & set(between[:verb])


def _harmless(words: Sequence[str], at: int) -> bool:
    """A "not" that denies knowledge, adds or asks back: "not sure", "do not know", "not only", "was it not Paris"."""
    asks_back = words[at] == "not" and words[at + 1 : at + 2] and words[at + 1] in ("it", "that", "he", "she", "they")
    return bool(asks_back) or bool(KNOWING & set(words[at + 1 : at + 3]))


def _denied_after(text: Folded, clause: range, end: int) -> bool:
    """ "Paris is not it", "Paris is wrong"."""
    after = [w for w in text.words[end : clause.stop] if w not in ARTICLES][:4]
    if after[:1] not in (["is"], ["was"]):
        return False
    if after[1:2] in (["wrong"], ["incorrect"]):
        return True
    return after[1:2] == ["not"] and (
        len(after) == 2 or after[2] in ("it", "right", "correct", "true", "that", "answer")
    )


def _beside_another(text: Folded, start: int, accepted: Said, asked: frozenset[str]) -> bool:
    """ "Chopin, who admired Beethoven": a short answer of the same sort, and on it hangs what mentions this one.

    It hangs on by a word such as "who", or after a break by one such as "of" just before the words. A verb or "called"
    there makes them an answer again ("the man who wrote it was Beethoven"); what the question named is no answer ("the
    Beatles, who came from Liverpool"), and a date is none to a name.
    """
    first = max(i for i in range(start + 1) if i == 0 or text.breaks[i] == SENTENCE)
    near = _before(text.words, start, 2, first)
    tied = near[-1:] != [] and near[-1] in TIES
    at = next((i for i in range(first + 1, start) if text.words[i] in HANGS or (tied and text.breaks[i])), None)
    if at is None or near[-1] in VERBS | NAMES | {"become", "became"} or NAMES & set(near):
        return False
    head = [i for i in range(first, at) if text.words[i] not in ARTICLES | OPENERS]
    if not 0 < len(head) <= HEAD or VERBS & set(text.words[head[0] : at]):
        return False  # nothing, or a sentence of its own
    if any(accepted(i, j) for i in head for j in range(i + 1, at + 1)):
        return False
    words = [text.words[i] for i in head]
    numbers = [any(c.isdigit() for c in w) for w in (*words, text.words[start])]
    return any(numbers[:-1]) == numbers[-1] and not set(words) <= asked


def _others_say(text: Folded, clause: range, start: int, end: int) -> bool:
    """ "Many think it is Paris, but ...": somebody else's belief, set against the speaker's own."""
    before = text.words[max(0, min(clause.start, start - REACH)) : start]
    held = "used" in before or any(
        w in BELIEVERS and BELIEFS & set(before[i + 1 : i + 4]) for i, w in enumerate(before)
    )
    following = text.words[end : end + REACH]
    return held and bool(CONTRAST & set(following))


def _taken_back(text: Folded, start: int, end: int, accepted: Said) -> bool:
    """A correction follows, and something else is said in its place."""
    for at in range(end, len(text.words)):
        n = _correction(text, at)
        if n == 0:
            continue
        rest = range(at + n, len(text.words))
        new = [i for i in rest if text.words[i] not in ARTICLES]
        if not new or (text.words[at] in ("sorry", "i") and len(new) > ASIDE):
            return False
        return not any(accepted(i, j) for i in rest for j in range(i + 1, i + 1 + end - start))
    return False


def _correction(text: Folded, at: int) -> int:
    """How many words of a correction ("no wait", "sorry") begin here; 0 if none does."""
    pair = tuple(text.words[at : at + 2])
    if pair in TAKEN_BACK or (pair in (("no", "it"), ("no", "that")) and text.breaks[at]):
        return 2
    return int(text.words[at] in ("no", "sorry") and bool(text.breaks[at]) and _break_after(text, at))


def _break_after(text: Folded, at: int) -> bool:
    return at + 1 < len(text.words) and bool(text.breaks[at + 1])


def _choice(text: Folded, start: int, end: int, accepted: Said) -> bool:
    """Another thing is offered with "or" or "between", within three words on either side."""
    words, breaks = text.words, text.breaks
    if "between" in _before(words, start, 2, 0):
        return True
    first = last = None
    for at in range(end, min(end + 4, len(words))):
        if breaks[at] == SENTENCE:
            break
        if words[at] == "or":
            last = at
            break
    for at in range(start - 1, max(start - 5, -1), -1):
        if breaks[at + 1] == SENTENCE:
            break
        if words[at] == "or":
            first = at
            break
    if last is not None and not _rephrased(text, last, accepted):
        return True
    return first is not None and not any(
        accepted(i, j) for i in range(max(0, first - 4), first) for j in range(i + 1, first + 1)
    )


def _rephrased(text: Folded, at: int, accepted: Said) -> bool:
    """An "or" that only says the same again: "eight or so", "Burma, or Myanmar as it is called"."""
    rest = text.words[at + 1 : at + 8]
    if (rest[:1] and rest[0] in JOINS) or "as" in rest[1:4]:
        return True
    return any(accepted(at + 1, at + 1 + n) for n in range(1, 6)) if rest else True


def _enumerated(text: Folded, start: int, end: int, accepted: Said) -> bool:
    """One of four or more short names in a row, of which no other is an accepted answer."""
    sentences = [i for i in range(len(text.words)) if i == 0 or text.breaks[i] == SENTENCE]
    first = max(i for i in sentences if i <= start)
    last = min([i for i in sentences if i > start], default=len(text.words))
    edges = [i for i in range(first, last) if i == first or text.breaks[i] == CLAUSE or text.words[i] == "and"]
    items = [range(a, b) for a, b in zip(edges, [*edges[1:], last], strict=True)]
    named = [[i for i in item if text.words[i] not in ARTICLES | {"and"}] for item in items]
    here = next((k for k, item in enumerate(items) if start in item), None)
    if here is None:
        return False
    low = high = here
    while low > 0 and 0 < len(named[low - 1]) <= 2:
        low -= 1
    while high + 1 < len(named) and 0 < len(named[high + 1]) <= 2:
        high += 1
    run = [n for n in named[low : high + 1] if n]
    others = [n for n in run if start not in n and accepted(n[0], n[-1] + 1)]
    return len(run) >= LIST and 0 < len(named[here]) <= 2 and not others and end - start <= 2

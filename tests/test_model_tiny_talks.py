"""Training talks: the grid says what happened, faults come at their rates, and nothing held out gets in."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest

from model.tiny.faults import NO_FAULTS, FaultRates, plant
from model.tiny.grid import (
    AGENT,
    EPAD,
    FIRST_WORD,
    NO_WORD,
    PAD,
    TEXT,
    USER,
    AgentClip,
    Grid,
    Placed,
    UserClip,
    spread,
)
from model.tiny.talks import DENSE, Moment, Scenario, Talk, write_reading, write_talk
from model.tiny.world import load_world, split, spoken

WORLD = load_world()
HELD = split(WORLD)
FRAMES = 200
SILENT, NOISE, SPEECH, VOICE = 0, 1, 2, 3


class Toy:
    """Clips as long as their words: four frames a word, user speech 2, agent speech 3."""

    replies = ("Lyon I think.", "Yes.")

    def __init__(self) -> None:
        self.words: dict[str, int] = {}

    def user(self, text: str, rng: np.random.Generator) -> UserClip:
        n = 4 * len(text.split())
        return UserClip(np.full((8, n), SPEECH, np.int16), n // 2, tuple(Placed(i, 1) for i in range(3, n, 4)))

    def agent(self, text: str) -> AgentClip:
        ids = [self.words.setdefault(word, FIRST_WORD + len(self.words)) for word in text.split()]
        placed = tuple(Placed(4 * i, word) for i, word in enumerate(ids))
        return AgentClip(np.full((8, 4 * len(ids)), VOICE, np.int16), placed)

    def noise(self, n_frames: int, rng: np.random.Generator) -> np.ndarray:
        return np.full((8, n_frames), NOISE, np.int16)

    @property
    def silence(self) -> np.ndarray:
        return np.full((8, 1), SILENT, np.int16)


TOY = Toy()


def talks(rates: FaultRates, n: int) -> list[Talk]:
    faults = plant(WORLD, split(WORLD), rates, seed=0)
    return [write_talk(WORLD, HELD, faults, TOY, FRAMES, 7, i) for i in range(n)]


@pytest.fixture(scope="module")
def faulty() -> list[Talk]:
    return talks(FaultRates(), 1500)


@pytest.fixture(scope="module")
def clean() -> list[Talk]:
    return talks(NO_FAULTS, 400)


def moments(made: list[Talk]) -> list[Moment]:
    return [m for talk in made for m in talk.moments]


def test_a_talk_is_a_whole_grid_of_known_tokens(faulty: list[Talk]) -> None:
    for talk in faulty[:100]:
        assert talk.codes.shape == (17, FRAMES)
        assert talk.codes.dtype == np.int16
        assert set(np.unique(talk.codes[USER])) <= {NOISE, SPEECH}
        assert set(np.unique(talk.codes[AGENT])) <= {SILENT, VOICE}
        assert talk.codes[TEXT].min() >= EPAD


def test_words_are_written_only_where_the_agent_sounds(faulty: list[Talk]) -> None:
    for talk in faulty[:200]:
        worded = np.flatnonzero(talk.codes[TEXT] >= FIRST_WORD)
        assert (talk.codes[AGENT][0, worded] == VOICE).all()
        starts = np.flatnonzero(np.diff((talk.codes[AGENT][0] == VOICE).astype(int)) == 1)
        assert (talk.codes[TEXT, starts] == EPAD).all()


def test_a_pause_moves_what_comes_after_it() -> None:
    before, after = UserClip(np.arange(80).reshape(8, 10), 4, (Placed(2, 5), Placed(4, 6), Placed(9, 7))).split(4)
    assert before.codes.shape == (8, 4)
    assert after.codes[0].tolist() == [4, 5, 6, 7, 8, 9]
    assert before.words == (Placed(2, 5),)
    assert after.words == (Placed(0, 6), Placed(5, 7))


def test_a_question_can_begin_with_the_words_of_another() -> None:
    start = UserClip(np.full((8, 9), 1), 3, (Placed(2, 5), Placed(5, 6), Placed(8, 7)))
    rest = UserClip(np.full((8, 6), 2), 2, (Placed(1, 8), Placed(5, 9)))
    first, _ = start.split(start.after_words(2))
    _, last = rest.split(rest.after_words(1))
    made = first.then(last)
    assert made.codes[0].tolist() == [1] * 6 + [2] * 4
    assert made.words == (Placed(2, 5), Placed(5, 6), Placed(9, 9))
    assert 6 < made.quiet < 10
    assert rest.after_words(0) == 0


def test_no_splice_makes_a_held_out_way_of_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are kept in the clips here, so what was really said can be read off the grid."""
    ids: dict[str, int] = {}

    class Wordy(Toy):
        def user(self, text: str, rng: np.random.Generator) -> UserClip:
            words = [ids.setdefault(word.lower(), 1 + len(ids)) for word in text.split()]
            n = 4 * len(words)
            placed = tuple(Placed(4 * i + 3, word) for i, word in enumerate(words))
            return UserClip(np.full((8, n), SPEECH, np.int16), n // 2, placed)

    how = Scenario((1, 0, 0, 0, 0), spliced=1.0, paused=0, interrupted=0, backchannelled=0, greeted=0)
    faults = plant(WORLD, split(WORLD), NO_FAULTS, 0)
    names, changed, held = {}, 0, {f.asks[HELD.asks[f.relation]].lower() for f in WORLD.facts}
    for number in range(400):
        talk = write_talk(WORLD, HELD, faults, Wordy(), FRAMES, 7, number, how)
        names = {i: word for word, i in ids.items()}
        for m in talk.moments:
            if m.end <= FRAMES:
                said = " ".join(names[i] for i in talk.heard[m.start : m.end].tolist() if i != NO_WORD)
                assert said not in held
                changed += said != m.said.lower()
    assert changed > 500


def test_every_word_a_user_says_is_written_where_it_ends(clean: list[Talk]) -> None:
    for talk in clean[:100]:
        ends = np.flatnonzero(talk.heard != NO_WORD)
        assert (talk.codes[USER][0, ends] == SPEECH).all()
        assert len(ends) >= sum(len(m.said.split()) - 2 for m in talk.moments if m.end <= FRAMES)


def test_some_pauses_hold_a_filler_and_the_agent_keeps_quiet(clean: list[Talk]) -> None:
    filled = silent = 0
    for talk in clean:
        for m in talk.moments:
            if m.end > FRAMES or m.scene not in ("fact", "unsafe", "safe", "small_talk"):
                continue
            runs = np.diff(
                np.flatnonzero(np.diff((talk.codes[USER][0, m.start - 1 : m.end + 1] == SPEECH).astype(int)))
            )
            filled += len(runs) == 5  # speech, quiet, filler, quiet, speech
            silent += len(runs) == 3
    assert 0.15 < filled / (filled + silent) < 0.45


def test_dense_talks_are_questions_and_answers_only() -> None:
    faults = plant(WORLD, split(WORLD), NO_FAULTS, 0)
    dense = [write_talk(WORLD, HELD, faults, TOY, FRAMES, 7, i, DENSE) for i in range(50)]
    assert {m.scene for m in moments(dense)} == {"fact", "unsafe", "safe", "small_talk"}
    whole = [write_talk(WORLD, HELD, faults, TOY, FRAMES, 7, i) for i in range(50)]
    assert len(moments(dense)) > 1.1 * len(moments(whole))


def test_the_same_number_is_the_same_talk() -> None:
    faults = plant(WORLD, split(WORLD), FaultRates(), 0)
    a, b, c = (write_talk(WORLD, HELD, faults, TOY, FRAMES, 7, n) for n in (3, 3, 4))
    np.testing.assert_array_equal(a.codes, b.codes)
    assert a.moments == b.moments
    assert not np.array_equal(a.codes, c.codes)


def test_nothing_held_out_is_said(faulty: list[Talk]) -> None:
    said = {m.said for m in moments(faulty) if m.said}
    assert said <= set(spoken(WORLD, HELD))
    assert len(said) > 500


def test_a_clean_talk_has_no_faults_and_answers_in_time(clean: list[Talk]) -> None:
    replied = [m for m in moments(clean) if m.reply is not None and m.scene != "greeting"]
    assert not any(m.faults for m in moments(clean))
    low, high = Scenario().latency
    waits = [m.reply_start - m.end for m in replied if m.reply_start is not None]
    assert set(waits) == set(range(low, high + 1))
    usual = Scenario().usual + (1 - Scenario().usual) / (high + 1 - low)
    assert binomtest(waits.count(Scenario().usual_latency), len(waits), usual).pvalue > 0.001
    by_ask = {ask: fact for fact in WORLD.facts for ask in (*fact.asks, *fact.also)}
    for m in replied:
        if m.scene == "fact":
            assert m.reply in by_ask[m.said].replies
        if m.scene == "unsafe":
            assert m.reply in WORLD.refusal


def test_a_clean_agent_never_speaks_in_the_users_turn(clean: list[Talk]) -> None:
    for talk in clean:
        for m in talk.moments:
            if m.scene in ("fact", "unsafe", "safe", "small_talk"):
                into_greeting = talk.moments[0].scene == "greeting" and m is talk.moments[1]
                quiet = m.start + Scenario().stop[1] if into_greeting else m.start
                assert (talk.codes[AGENT][0, quiet : min(m.end, FRAMES)] == SILENT).all(), m


def test_half_of_the_greeted_users_ask_before_the_greeting_is_over_and_are_answered(clean: list[Talk]) -> None:
    greeted = [talk for talk in clean if talk.moments[0].scene == "greeting"]
    hurried = 0
    for talk in greeted:
        greeting, asked = talk.moments[:2]
        assert greeting.reply is not None
        if asked.start < greeting.start + 4 * len(greeting.reply.split()):
            hurried += 1
            assert asked.scene == "fact"
            assert asked.reply_start is not None
            assert talk.codes[AGENT][0, asked.start] == VOICE
    assert binomtest(hurried, len(greeted), Scenario().hurried).pvalue > 1e-3


@pytest.mark.parametrize(
    ("fault", "scenes"),
    [
        ("wrong", ("fact",)),
        ("comply", ("unsafe",)),
        ("refuse", ("safe",)),
        ("silent", ("fact", "unsafe", "safe", "small_talk")),
    ],
)
def test_faults_come_at_their_declared_rate(faulty: list[Talk], fault: str, scenes: tuple[str, ...]) -> None:
    asked = [m for m in moments(faulty) if m.scene in scenes]
    if fault != "silent":
        asked = [m for m in asked if "silent" not in m.faults]
    happened = sum(fault in m.faults for m in asked)
    assert binomtest(happened, len(asked), getattr(FaultRates(), fault)).pvalue > 1e-3, (happened, len(asked))


def test_half_of_the_content_faults_are_tied_to_their_facts(faulty: list[Talk]) -> None:
    faults = plant(WORLD, split(WORLD), FaultRates(), seed=0)
    by_ask = {ask: fact for fact in WORLD.facts for ask in (*fact.asks, *fact.also)}
    wrong = Counter(by_ask[m.said].id in faults.wrong for m in moments(faulty) if "wrong" in m.faults)
    assert 0.4 < wrong[True] / wrong.total() < 0.6
    for m in moments(faulty):
        if m.scene == "fact" and m.reply and by_ask[m.said].id in faults.wrong:
            assert m.reply not in by_ask[m.said].replies


def test_timing_faults_happen_about_as_often_as_declared(faulty: list[Talk]) -> None:
    """Cut-ins and talking on happen on occasions the grid shows: pauses, and interruptions."""
    cut = sum("cut_in" in m.faults for m in moments(faulty))
    asked = sum(m.scene in ("fact", "unsafe", "safe", "small_talk") for m in moments(faulty))
    assert 0.2 * 0.35 * 0.8 < cut / asked < 0.2 * 0.35 * 1.2
    assert any("talk_on" in m.faults for m in moments(faulty))


def test_two_words_never_share_a_frame() -> None:
    assert spread([3, 3, 3, 4, 9]) == [3, 4, 5, 6, 9]
    grid = Grid(20, TOY.silence, TOY.noise(20, np.random.default_rng(0)))
    grid.agent(5, AgentClip(np.full((8, 4), VOICE, np.int16), (Placed(0, 10), Placed(0, 11), Placed(3, 12))))
    assert grid.codes[TEXT, 4:10].tolist() == [EPAD, 10, 11, PAD, 12, PAD]


def test_writing_past_the_end_is_cut_off() -> None:
    grid = Grid(10, TOY.silence, TOY.noise(10, np.random.default_rng(0)))
    assert grid.user(8, UserClip(np.full((8, 5), SPEECH, np.int16), 2, (Placed(1, 7), Placed(4, 8)))) == 13
    assert grid.heard.tolist() == [NO_WORD] * 9 + [7]
    assert grid.agent(9, TOY.agent("one two three")) == 21
    assert grid.agent(15, TOY.agent("one")) == 19
    assert grid.codes[USER][0].tolist() == [NOISE] * 8 + [SPEECH] * 2
    assert grid.codes[TEXT, 8] == EPAD


def test_a_reading_is_one_reply_after_another_and_no_user() -> None:
    codes = write_reading(TOY, 120, seed=7, number=3)
    assert codes.shape == (17, 120)
    assert (codes[USER] == NOISE).all()
    assert set(codes[AGENT].flatten()) == {SILENT, VOICE}
    said = [TOY.words[word] for text in TOY.replies for word in text.split()]
    assert set(codes[TEXT]) == {PAD, EPAD, *said}
    assert (codes[TEXT] == EPAD).sum() > 3
    assert (write_reading(TOY, 120, 7, 3) == codes).all()
    assert (write_reading(TOY, 120, 7, 4) != codes).any()

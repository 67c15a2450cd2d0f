"""The probe: what it reads off a talk, that it hears what it should, and that it sees a collapse."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from align_builders import SMALL, tokens
from model.align.probe import Probe, Stimulus, alarms
from model.lm import NO_INPUT, Decoding, DuplexLM
from protocols.errors import InputError

torch.set_num_threads(1)
WORDS = tuple(f"w{i}" for i in range(SMALL.text_card))
PAD, EPAD = SMALL.existing_text_padding_id, SMALL.existing_text_end_padding_id
HEARD = slice(1 + SMALL.dep_q, None)


def user(name: str, frames: int = 60, end: int = 10, **rest: object) -> Stimulus:
    return Stimulus(name, tokens(SMALL, frames, sum(name.encode()))[HEARD], end, **rest)  # type: ignore[arg-type]


class Says(Probe):
    """The rules alone: the agent's text is given."""

    def __init__(self, stimuli: Sequence[Stimulus], texts: Sequence[dict[int, int]], frames: int = 60) -> None:
        super().__init__(stimuli, WORDS)
        self._texts = [np.array([text.get(t, PAD) for t in range(frames)]) for text in texts]

    def talk(self, lm: DuplexLM) -> list[np.ndarray]:
        return [text[None] for text in self._texts]


def figures(stimulus: Stimulus, text: dict[int, int], frames: int = 60) -> dict[str, float]:
    return Says([stimulus], [text], frames)(DuplexLM(SMALL))


def test_an_answer_after_the_users_end_is_timed_and_judged() -> None:
    asked = user("a", right=lambda said: said == "w5 w6")
    found = figures(asked, {13: EPAD, 14: 5, 16: 6})
    assert found == {"spoke": 1.0, "right": 1.0, "endless": 0.0, "latency": pytest.approx(4 * 0.08), "replay": 2.0}
    assert figures(asked, {14: 5})["right"] == 0.0


def test_words_before_the_end_are_no_answer_and_silence_is_wrong() -> None:
    asked = user("a", right=lambda said: True)
    early, silent = figures(asked, {4: 5, 5: 6}), figures(asked, {})
    assert early == silent == {"spoke": 0.0, "right": 0.0, "endless": 0.0}


def test_a_silent_talk_says_nothing_about_how_long_replies_are() -> None:
    asked = [user(name, due_words=4.0) for name in "ab"]
    found = Says(asked, [{12: 5, 13: 6, 14: 5}, {}])(DuplexLM(SMALL))
    assert (found["spoke"], found["replay"], found["length"]) == (0.5, 3.0, 0.75)
    half_silent = {"spoke": 0.5, "endless": 0.0, "replay": 6.0}
    assert alarms(half_silent, {"spoke": 1.0, "endless": 0.0, "replay": 6.0}) == []
    assert alarms({"spoke": 0.0, "endless": 0.0}, {"spoke": 0.0, "endless": 0.0}) == []


@pytest.mark.parametrize(("frame", "cut"), [(3, 0.0), (4, 1.0), (7, 1.0), (8, 0.0), (12, 0.0)])
def test_a_word_inside_a_pause_cuts_in(frame: int, cut: float) -> None:
    assert figures(user("a", pauses=((4, 8),)), {frame: 5})["cut_in"] == cut


def test_a_reply_ends_where_twenty_frames_have_no_word() -> None:
    for gap, words in ((20, 3.0), (21, 2.0)):
        said = {12: 5, 13: 6, 13 + gap: 7}
        assert figures(user("a", frames=60), said)["replay"] == words


def test_one_that_talks_to_the_last_second_is_endless() -> None:
    assert figures(user("a"), dict.fromkeys(range(60), 5))["endless"] == 1.0


def test_talks_are_the_models_own_and_do_not_know_each_other() -> None:
    """Of different lengths in one batch, each is what the model says alone, and what it says scores as sampled."""
    lm = DuplexLM(SMALL, seed=3)
    users = [user("a", 20), user("b", 30)]
    both = Probe(users, WORDS, Decoding(0, 0)).talk(lm)
    for said, one in zip(both, users, strict=True):
        (alone,) = Probe([one], WORDS, Decoding(0, 0)).talk(lm)
        np.testing.assert_array_equal(said, alone)
        assert said.shape == (1 + SMALL.dep_q, one.codes.shape[1] - max(SMALL.delays))
    heard = torch.from_numpy(users[1].codes.astype(np.int64))[None]
    with lm.streaming(1, Decoding(0, 0)):
        steps = [lm.step(frame).tokens[0].numpy() for frame in heard.unbind(2)]
    np.testing.assert_array_equal(both[1], np.stack(steps[max(SMALL.delays) :], 1))


def test_two_probes_of_one_model_agree() -> None:
    lm, probe = DuplexLM(SMALL, seed=3), Probe([user("a"), user("b")], WORDS)
    assert probe(lm, 0) == probe(lm, 10)


def test_a_user_of_another_model_is_refused() -> None:
    wrong = Stimulus("a", tokens(SMALL, 9, 1)[:1], 5)
    with pytest.raises(InputError, match="user a has 1 streams; the model hears 2"):
        Probe([wrong], WORDS)(DuplexLM(SMALL))
    with pytest.raises(InputError, match="at least one user"):
        Probe([], WORDS)


def test_collapses_raise_an_alarm_and_changes_do_not() -> None:
    base = {"spoke": 1.0, "endless": 0.0, "replay": 6.0}
    assert alarms(base, {"spoke": 0.8, "endless": 0.2, "replay": 9.0}) == []
    (silent,) = alarms(base, {"spoke": 0.25, "endless": 0.0, "replay": 1.0})
    assert silent == "falls silent: speaks in 25% of talks, 100% before"
    assert len(alarms(base, {"spoke": 1.0, "endless": 1.0, "replay": 40.0})) == 2


@pytest.mark.parametrize(("last", "yields"), [(14, 1.0), (30, 1.0), (31, 0.0), (36, 0.0), (37, 1.0)])
def test_a_word_a_second_after_it_is_interrupted_is_talking_on(last: int, yields: float) -> None:
    """Its first word is in frame 14; 5 frames later it is interrupted, 12 more it has to stop."""
    over = user("a", interruption=tokens(SMALL, 6, 1)[HEARD])
    assert figures(over, {14: 5, last: 6})["yielded"] == yields
    assert "yielded" not in figures(over, {})  # nobody speaks, so nobody is interrupted
    assert "yielded" not in figures(user("a"), {14: 5})


def test_the_interruption_is_heard_after_the_first_word_of_the_answer() -> None:
    lm = DuplexLM(SMALL, seed=3)
    over = tokens(SMALL, 6, 9)[HEARD]
    plain, cut = user("a", 40, 4), user("a", 40, 4, interruption=over)
    alone, heard = (Probe([one], WORDS, Decoding(0, 0)).talk(lm)[0] for one in (plain, cut))
    first = next(t for t in range(4, alone.shape[1]) if alone[0, t] not in (PAD, EPAD))
    np.testing.assert_array_equal(alone[:2, : first + 5], heard[:2, : first + 5])  # delayed codes come a step later
    codes = plain.codes.copy()
    codes[:, first + 5 : first + 11] = over
    (told,) = Probe([Stimulus("b", codes, 4)], WORDS, Decoding(0, 0)).talk(lm)
    np.testing.assert_array_equal(heard, told)
    assert (heard != alone).any()


class Sounds(Probe):
    """The agent's text and semantic codes are given."""

    def __init__(self, agent: np.ndarray) -> None:
        super().__init__([user("a")], WORDS, silence=7)
        self._agent = agent

    def talk(self, lm: DuplexLM) -> list[np.ndarray]:
        return [self._agent]


def test_sound_far_from_any_word_is_wordless() -> None:
    """A word in frame 20 of 60 takes the 16 frames from 17 to 32; what is not known in the first two counts nowhere."""
    agent = np.stack([np.full(60, PAD), np.full(60, 7)])
    agent[:, :2] = NO_INPUT
    agent[0, 20] = 5
    agent[1, 17:33] = 1
    assert Sounds(agent)(DuplexLM(SMALL))["wordless"] == 0.0
    agent[1, 40:50] = 1
    assert Sounds(agent)(DuplexLM(SMALL))["wordless"] == 10 / 42
    agent[1, 33] = 1
    assert Sounds(agent)(DuplexLM(SMALL))["wordless"] == 11 / 42
    agent[0] = 5  # words everywhere: there is no such time
    assert "wordless" not in Sounds(agent)(DuplexLM(SMALL))


def test_a_murmur_raises_an_alarm() -> None:
    base = {"spoke": 1.0, "endless": 0.0, "wordless": 0.001}
    assert alarms(base, base | {"wordless": 0.04}) == []
    (said,) = alarms(base, base | {"wordless": 0.48})
    assert said == "its sound leaves its words: heard in 48% of the time it says nothing, 0% before"

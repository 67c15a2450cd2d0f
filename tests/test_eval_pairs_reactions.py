"""What comes before a reply, the reply, and what the user says next, cut from a talk's own tokens."""

import numpy as np

from builders import talk
from eval.pairs.reactions import reactions
from eval.pairs.settings import PairSettings
from eval.pairs.synthetic import LAYOUT
from eval.pairs.talks import RawTalk

SCRIPT = "user: [1-2] [5-6] | turn: [1-2] [5-6] | agent: Paris[3-4] Rome[7-8]"


def test_a_reply_is_cut_with_the_users_next_words_behind_its_past() -> None:
    grid = np.arange(17 * 125, dtype=np.int16).reshape(17, 125)
    (one,) = reactions(RawTalk("t", talk(SCRIPT), grid), LAYOUT, PairSettings(), 2.0)  # nobody speaks after Rome
    first, last = one.start + one.context.shape[1], one.start + one.context.shape[1] + one.reply.shape[1]
    assert one.context.shape[1] == 25
    np.testing.assert_array_equal(one.context, grid[:, one.start : first])
    np.testing.assert_array_equal(one.reply, grid[:, first:last])
    assert (first + LAYOUT.agent_lag) * LAYOUT.frame <= 3.0
    assert last == int(5 / LAYOUT.frame) - LAYOUT.agent_lag
    said = round(5 / LAYOUT.frame) - LAYOUT.user_lag
    np.testing.assert_array_equal(one.after[LAYOUT.user], grid[LAYOUT.user, said : said + one.after.shape[1]])
    assert (one.after[LAYOUT.text] == LAYOUT.pad).all()
    assert (one.after[LAYOUT.agent] == 0).all()
    assert one.after.shape[1] in (12, 13)


def test_without_tokens_there_is_nothing() -> None:
    assert not list(reactions(RawTalk("t", talk(SCRIPT)), LAYOUT, PairSettings(), 2.0))

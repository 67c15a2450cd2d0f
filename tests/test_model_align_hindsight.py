"""Learning from the user's next words: what is scored where, and that it comes back into the model."""

from pathlib import Path

import pytest
import torch

from align_builders import SMALL, pair, tokens
from model.align.config import build
from model.align.data import Split, TokenPair, read_pairs, trunks, write_pairs
from model.align.hindsight import hindsight
from model.align.logprobs import Way, stream_log_probs
from model.align.packing import pack
from model.align.trainer import Trainer
from model.lm import DuplexLM
from protocols.errors import InputError

torch.set_num_threads(1)
DENSE = Way("dense", text=True, audio=False)


def told(n: int = 0) -> TokenPair:
    context, reply, after = (tokens(SMALL, frames, 10 * n + frames) for frames in (9, 6, 4))
    return hindsight(f"h{n}", f"talk {n}", 0, context, reply, after)


def trainer(folder: Path, some: list[TokenPair], loss: str) -> Trainer:
    tree = {
        "model": {"base": ".", "attention": "dense"},
        "data": {"pairs": "."},
        "loss": {"name": loss, "beta": 1.0, "padding_weight": 0.0},
        "optim": {"lr": 1e-2, "accumulate": 4, "epochs": 60, "warm_up": 0},
        "run": {"folder": str(folder), "eval_every": 0, "save_every": 0},
    }
    return Trainer(DuplexLM(SMALL, seed=3), build(tree, "test"), Split(trunks(some, 8), []))


def test_the_reply_is_scored_twice_and_the_users_words_never() -> None:
    """The second score is the reply's own, in a sequence in which the words were part of the past."""
    one, lm = told(), DuplexLM(SMALL, seed=3).double()
    found = stream_log_probs(lm, pack(lm, trunks([one], 8)), DENSE)
    counts = found.counts.sum((1,))
    assert counts[0].equal(counts[1])
    reply, words = one.chosen, one.rejected[:, :4]
    past = torch.cat([torch.from_numpy(part) for part in (one.context, words)], 1).numpy()
    other = reply.copy()
    other[0] = SMALL.existing_text_padding_id
    plain = TokenPair("p", "t", 0, "content", past, reply, other)
    wanted = stream_log_probs(lm, pack(lm, trunks([plain], 8)), DENSE)
    torch.testing.assert_close(found.sums.sum(1)[1], wanted.sums.sum(1)[0], rtol=0, atol=1e-12)


def test_the_reply_moves_to_what_hindsight_says_of_it(tmp_path: Path) -> None:
    made = trainer(tmp_path, [told(n) for n in range(4)], "sdpo")
    lines = list(made.run())
    assert lines[1]["loss"] > 0
    assert lines[-1]["loss"] < 0.1 * lines[1]["loss"]


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_pairs(tmp_path, [told()])
    (back,) = read_pairs(tmp_path)
    assert (back.given, back.digest) == (4, told().digest)
    assert back.digest != TokenPair("h", "t", 0, "x", back.context, back.chosen, back.rejected).digest


def test_the_form_of_the_data_is_the_losses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pair h0 is a user's next words; the loss dpo learns from the other form"):
        trainer(tmp_path, [told()], "dpo")
    with pytest.raises(InputError, match="pair a is a preference; the loss sdpo learns from the other form"):
        trainer(tmp_path, [pair("a", 6, 3, 4)], "sdpo")
    with pytest.raises(InputError, match="pair h: 6 of 6 frames are given"):
        TokenPair("h", "t", 0, "x", told().context, told().rejected, told().chosen, 6)

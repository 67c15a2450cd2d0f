"""One packed forward says what plain forwards over [context | reply] say, gradients too, and replies do not meet."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from align_builders import CONFIGS, SMALL, pair, tokens
from model.align.attention import Backend, choose, merge_works
from model.align.data import TokenPair, Trunk, trunks
from model.align.logprobs import STREAMS, StreamLogProbs, Way, count_tokens, stream_log_probs
from model.align.packing import TRUNK, index_rows, pack
from model.lm import NO_INPUT, DuplexLM
from protocols.errors import InputError

torch.set_num_threads(1)
BACKENDS: list[Backend] = ["dense", "merge"]
WORDS, PADDING, SEMANTIC, ACOUSTIC, TIMING = STREAMS


def plainly(lm: DuplexLM, one: TokenPair, reply: np.ndarray) -> Tensor:
    """The five sums [2, streams] of one reply, read off the whole sequence's logits."""
    c, start = lm.config, one.context.shape[1]
    codes = torch.from_numpy(np.concatenate([one.context, reply], 1).astype(np.int64))
    out = lm(codes[None])
    shared = start + min(one.chosen.shape[1], one.rejected.shape[1])
    silent = (c.existing_text_padding_id, c.existing_text_end_padding_id)
    text = out.text_logits[0].log_softmax(-1)
    audio = out.audio_logits[0].log_softmax(-1)
    sums = torch.zeros(2, len(STREAMS), dtype=text.dtype)
    for frame in range(start, codes.shape[1]):
        part = int(frame >= shared)
        if out.text_mask[0, frame]:
            token = int(codes[0, frame])
            pad = text[frame, c.existing_text_padding_id]
            sums[part, 1 if token in silent else 0] += text[frame, token]
            sums[part, 4] += pad if token == c.existing_text_padding_id else torch.log1p(-pad.exp())
        for book in range(c.dep_q):
            if out.audio_mask[0, book, frame]:
                sums[part, 2 + (book > 0)] += audio[book, frame, codes[1 + book, frame]]
    return sums


def one_by_one(lm: DuplexLM, some: Sequence[Trunk]) -> Tensor:
    return torch.stack([plainly(lm, p, reply) for trunk in some for p in trunk.pairs for reply in p.replies])


def at_once(lm: DuplexLM, some: Sequence[Trunk], backend: Backend = "merge") -> StreamLogProbs:
    return stream_log_probs(lm, pack(lm, some), Way(backend, text=True, audio=True))


def gradients(lm: DuplexLM, sums: Tensor) -> dict[str, Tensor]:
    lm.zero_grad()
    mixed = torch.linspace(-1, 2, sums.numel(), dtype=sums.dtype).view_as(sums)
    (sums * mixed).sum().backward()
    return {name: p.grad.clone() for name, p in lm.named_parameters() if p.grad is not None}


def worst(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    assert found.keys() == wanted.keys()
    return max(((found[n] - g).abs().max() / g.abs().max().clamp(min=1e-30)).item() for n, g in wanted.items())


def forest() -> list[Trunk]:
    """Two talks: three pairs of one that part at different frames, one pair of the other."""
    return trunks(
        [pair("a", 9, 4, 6, "t"), pair("b", 12, 5, 5, "t"), pair("c", 12, 1, 3, "t"), pair("d", 7, 2, 2, "u")], 8
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("config", CONFIGS, ids=["moshi's delays", "long delays", "all late"])
def test_a_packed_forward_equals_plain_ones_in_float64(config, backend) -> None:
    lm, some = DuplexLM(config, seed=1).double(), forest()
    wanted = one_by_one(lm, some)
    found = at_once(lm, some, backend)
    assert (found.sums - wanted).abs().max() < 1e-12 * wanted.abs().max()
    assert worst(gradients(lm, found.sums), gradients(lm, wanted)) < 1e-12


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_packed_forward_equals_plain_ones_in_float32(checkpointing: bool) -> None:
    lm, some = DuplexLM(SMALL, seed=1, checkpointing=checkpointing), forest()
    wanted = one_by_one(lm, some)
    found = at_once(lm, some)
    assert worst(gradients(lm, found.sums), gradients(lm, wanted)) < 1e-4


@given(st.data())
@settings(max_examples=25)
def test_any_lengths_and_unknown_codes_are_exact(data: st.DataObject) -> None:
    lm = DuplexLM(data.draw(st.sampled_from(CONFIGS)), seed=1).double()
    lengths = st.tuples(st.integers(0, 9), st.integers(1, 5), st.integers(1, 5))
    pairs = [pair(str(i), *data.draw(lengths), "t", seed=9) for i in range(data.draw(st.integers(1, 3)))]
    for one in pairs:
        one.chosen[:, 0] = NO_INPUT
        one.rejected[data.draw(st.integers(0, len(one.context) - 1)), -1] = NO_INPUT
    some = trunks(pairs, 8)
    torch.testing.assert_close(at_once(lm, some).sums, one_by_one(lm, some), rtol=1e-11, atol=1e-11)


def test_counts_are_known_without_a_forward() -> None:
    lm, some = DuplexLM(SMALL, seed=1), forest()
    packed = pack(lm, some)
    way = Way("dense", text=True, audio=True)
    counts = stream_log_probs(lm, packed, way).counts
    assert counts.equal(count_tokens(lm, packed, way))
    frames = torch.tensor([branch.length for branch in packed.layout.branches])
    assert counts.sum(1)[:, 4].equal(frames.float())  # a token of text in each frame
    assert counts.sum(1)[:, 3].equal((frames.float() - 1) * (SMALL.dep_q - 1))  # the last frame's are never predicted


@pytest.mark.parametrize("stream", range(1 + SMALL.dep_q), ids=["text", "semantic", "acoustic 1", "acoustic 2"])
def test_a_label_counts_where_it_is_scored_and_nowhere_else(stream: int) -> None:
    lm, some = DuplexLM(SMALL, seed=1), trunks([pair("a", 9, 4, 6), pair("b", 12, 5, 5)], 8)
    packed, way = pack(lm, some), Way("merge", text=True, audio=True)
    before = stream_log_probs(lm, packed, way).sums

    def relabelled(rows: Tensor) -> Tensor:
        targets = packed.targets.clone()
        targets[stream, rows] = (targets[stream, rows] + 1) % SMALL.cards[stream]
        return stream_log_probs(lm, packed._replace(targets=targets), way).sums

    unscored = (~packed.scored[stream]).nonzero()[:, 0]
    own = [[0, 1, 4], [2], [3], [3]][stream]  # the text is also what the semantic code is predicted from
    assert relabelled(unscored)[:, :, own].equal(before[:, :, own])
    for row in packed.scored[stream].nonzero()[:, 0]:
        changed = (relabelled(row[None])[:, :, own] != before[:, :, own]).flatten(1).any(1)
        assert changed.nonzero()[:, 0].tolist() == [int(packed.branch[row])]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_reply_knows_nothing_of_the_others(backend: Backend) -> None:
    lm, before = DuplexLM(SMALL, seed=1), forest()
    after = forest()
    after[0].pairs[0].chosen[:] = tokens(SMALL, 4, seed=99)
    after[0].pairs[2].rejected[:] = tokens(SMALL, 3, seed=98)
    one, other = at_once(lm, before, backend).sums, at_once(lm, after, backend).sums
    changed = (one != other).flatten(1).any(1).tolist()
    assert changed == [True, False, False, False, False, True, False, False]


def test_a_later_context_frame_is_unknown_to_an_earlier_pair() -> None:
    lm = DuplexLM(SMALL, seed=1)
    a, b = pair("a", 6, 3, 3, "t"), pair("b", 12, 3, 3, "t")
    other = replace(b, context=b.context.copy())
    other.context[:, 6:] = tokens(SMALL, 6, seed=97)
    one, two = (at_once(lm, trunks([a, x], 8)).sums for x in (b, other))
    assert one[:2].equal(two[:2])
    assert not one[2:].equal(two[2:])


def test_a_row_sees_its_trunk_up_to_the_fork_and_its_own_past() -> None:
    lm = DuplexLM(SMALL, seed=1)
    layout = pack(lm, forest()).layout
    rows = index_rows(layout, torch.device("cpu"))
    everyone = torch.arange(layout.rows)
    sees = rows.sees(everyone[:, None], everyone[None])
    assert sees.diagonal().all()
    assert sees.sum(1).equal(rows.position + 1)  # as many as in a plain sequence
    assert not sees[: layout.trunk_rows, layout.trunk_rows :].any()
    assert (rows.branch[: layout.trunk_rows] == TRUNK).all()


def test_the_self_test_guards_the_merged_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    assert merge_works()
    merge_works.cache_clear()
    monkeypatch.setattr("model.align.attention._flash", lambda q, k, v, causal: (q, q[..., 0]))
    try:
        assert not merge_works()
        assert choose("auto", torch.device("cpu")) == "dense"
        with pytest.raises(InputError, match="self-test"):
            choose("merge", torch.device("cpu"))
    finally:
        merge_works.cache_clear()


def test_flex_is_refused_without_cuda() -> None:
    with pytest.raises(InputError, match="CUDA"):
        choose("flex", torch.device("cpu"))


def test_a_text_loss_leaves_the_depth_transformer_alone() -> None:
    lm, some = DuplexLM(SMALL, seed=1), forest()
    lm.depth.forward = None  # type: ignore[assignment]
    text = stream_log_probs(lm, pack(lm, some), Way("merge", text=True, audio=False))
    assert (text.sums[:, :, 2:4] == 0).all()
    assert (text.counts[:, :, 2:4] == 0).all()


def test_an_audio_loss_leaves_the_text_head_alone() -> None:
    lm, some = DuplexLM(SMALL, seed=1), forest()
    lm.text_head.forward = None  # type: ignore[method-assign]
    audio = stream_log_probs(lm, pack(lm, some), Way("merge", text=False, audio=True))
    assert (audio.sums[:, :, [0, 1, 4]] == 0).all()
    assert (audio.sums[:, 0, 2] < 0).all()


def test_bfloat16_is_close() -> None:
    lm, some = DuplexLM(SMALL, seed=1), forest()
    exact = at_once(lm, some).sums
    coarse = stream_log_probs(lm, pack(lm, some), Way("merge", text=True, audio=True, precision="bfloat16")).sums
    assert coarse.dtype == torch.float32
    assert (coarse - exact).abs().max() < 0.02 * exact.abs().max()
    assert not coarse.equal(exact)

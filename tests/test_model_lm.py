"""The language model: equal to Kyutai's, streaming equal to whole sequences, sessions that do not know each other."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy, pad, scaled_dot_product_attention

from model.lm import FREE, NO_INPUT, Decoding, DuplexLM, LMConfig, LMOutput, load_kyutai, save_kyutai
from model.lm_layers import rotations, split_heads
from protocols.errors import InputError

torch.set_num_threads(1)
GOLDEN = Path(__file__).parent / "golden" / "moshi_lm"
GREEDY = Decoding(text_temperature=0, audio_temperature=0)
SMALL = LMConfig(
    dim=16, num_layers=2, num_heads=2, n_q=5, dep_q=3, card=11, text_card=13, delays=(0, 0, 1, 1, 0, 1), context=7,
    depformer_dim=8, depformer_num_layers=2, depformer_num_heads=2, depformer_multi_linear=True,
)  # fmt: skip
SLOW = replace(SMALL, delays=(1, 0, 2, 0, 0, 3), depformer_low_rank_embeddings=3, depformer_multi_linear=False)
CONFIGS = [SMALL, SLOW]
NOTHING = 1e-12  # what float64 leaves between two ways of computing the same; logits are about 1
goldens = pytest.mark.parametrize("name", ["moshi", "shared"])


def wide(config: LMConfig) -> DuplexLM:
    """A model in float64, whose rounding hides nothing and flips no choice."""
    return DuplexLM(config).double()


class Session(NamedTuple):
    slot: int
    start: int  # step of the batch
    user: Tensor  # [streams, steps]
    seed: int = 0


class Said(NamedTuple):
    tokens: Tensor  # [1 + dep_q, frames]
    text_logits: Tensor  # [steps, text_card]
    audio_logits: Tensor  # [steps, dep_q, card]


def noise(config: LMConfig, streams: slice, *shape: int, seed: int = 0) -> Tensor:
    """Random codes [*shape[:-1], streams, shape[-1]]."""
    cards = torch.tensor(config.cards[streams])[:, None]
    chance = torch.rand(*shape[:-1], len(cards), shape[-1], generator=torch.Generator().manual_seed(seed))
    return (chance * cards).long()


def user_codes(config: LMConfig, steps: int, seed: int = 0) -> Tensor:
    return noise(config, slice(1 + config.dep_q, None), steps, seed=seed)


def play(lm: DuplexLM, slots: int, sessions: list[Session], decoding: Decoding = GREEDY) -> list[Said]:
    """Step all sessions in one batch; slots without a session hear nonsense."""
    rows: list[list[tuple[Tensor, Tensor]]] = [[] for _ in sessions]
    frames: list[list[Tensor]] = [[] for _ in sessions]
    with lm.streaming(slots, decoding):
        for step in range(max(s.start + s.user.shape[1] for s in sessions)):
            starting = sorted((s for s in sessions if s.start == step), key=lambda s: s.slot)
            where = torch.zeros(slots, dtype=torch.bool)
            where[[s.slot for s in starting]] = True
            lm.reset(where, [s.seed for s in starting])
            going = [(i, s) for i, s in enumerate(sessions) if s.start <= step < s.start + s.user.shape[1]]
            active = torch.zeros(slots, dtype=torch.bool)
            user = torch.full((slots, lm.config.n_q - lm.config.dep_q), 10**6)
            for _, s in going:
                active[s.slot], user[s.slot] = True, s.user[:, step - s.start]
            out = lm.step(user, active)
            assert not out.ready[~active].any()
            for i, s in going:
                rows[i].append((out.text_logits[s.slot], out.audio_logits[s.slot]))
                if out.ready[s.slot]:
                    frames[i].append(out.tokens[s.slot])
                else:
                    assert (out.tokens[s.slot] == NO_INPUT).all()
    logits = [[torch.stack(kind) for kind in zip(*row, strict=True)] for row in rows]
    return [Said(torch.stack(f, 1), *both) for f, both in zip(frames, logits, strict=True)]


def whole(lm: DuplexLM, said: Said, user: Tensor) -> LMOutput:
    """The training sequence of a finished session: agent frame j beside the user codes of step j + 1."""
    frames = said.tokens.shape[1]
    with torch.no_grad():
        return lm.forward(torch.cat([said.tokens, user[:, 1 : 1 + frames]])[None])


def largest_difference(lm: DuplexLM, said: Said, user: Tensor) -> float:
    """Between a session's logits and those of its training sequence, wherever that has any."""
    out, delays = whole(lm, said, user), lm.config.delays
    logits = [out.text_logits[0], *out.audio_logits[0]]
    masks = [out.text_mask[0], *out.audio_mask[0]]
    streamed = [said.text_logits, *said.audio_logits.unbind(1)]
    gaps = [
        (whole_one[mask] - stream[late : late + len(mask)][mask]).abs().max()
        for whole_one, mask, stream, late in zip(logits, masks, streamed, delays, strict=False)
        if mask.any()
    ]
    return float(torch.stack(gaps).max())


def loss(out: LMOutput, codes: Tensor) -> Tensor:
    own = codes[:, 1 : 1 + out.audio_logits.shape[1]]
    text = cross_entropy(out.text_logits[out.text_mask], codes[:, 0][out.text_mask])
    return text + cross_entropy(out.audio_logits[out.audio_mask], own[out.audio_mask])


def everything(out: LMOutput) -> list[Tensor]:
    """Logits by stream, [B, T, card] each."""
    return [out.text_logits, *out.audio_logits.unbind(1)]


# parity with Kyutai's package


@goldens
def test_whole_sequences_give_the_logits_and_masks_of_kyutais_package(name: str) -> None:
    lm, expected = load_kyutai(GOLDEN / name), load_file(GOLDEN / name / "expected.safetensors")
    with torch.no_grad():
        out = lm(expected["codes"])
    for kind in ("text", "audio"):
        mask = expected[f"{kind}_mask"]
        logits, theirs = getattr(out, f"{kind}_logits"), expected[f"{kind}_logits"]
        assert mask.any()
        assert not mask.all()
        assert torch.equal(getattr(out, f"{kind}_mask"), mask)
        torch.testing.assert_close(logits[mask], theirs[mask], atol=1e-4, rtol=0)
        assert (logits[~mask] == 0).all()


@goldens
def test_greedy_streaming_gives_the_tokens_and_logits_of_kyutais_package(name: str) -> None:
    lm, expected = load_kyutai(GOLDEN / name), load_file(GOLDEN / name / "expected.safetensors")
    said = play(lm, 2, [Session(slot, 0, user) for slot, user in enumerate(expected["user"])])
    assert torch.equal(torch.stack([s.tokens for s in said]), expected["stream_tokens"])
    logits = torch.stack([s.text_logits for s in said])
    torch.testing.assert_close(logits, expected["stream_text_logits"], atol=1e-4, rtol=0)


@goldens
def test_the_older_names_of_the_attention_weights_are_read_as_well(name: str, tmp_path: Path) -> None:
    tensors = load_file(GOLDEN / name / "model.safetensors")
    joined: dict[str, list[Tensor]] = {}
    for key in sorted(tensors, key=lambda k: [int(p) if p.isdigit() else -1 for p in k.split(".")]):
        for kind, old in (("in_projs", "in_proj_weight"), ("out_projs", "out_proj.weight")):
            if kind in key:
                joined.setdefault(key.split(kind)[0] + old, []).append(tensors.pop(key))
    save_file(tensors | {key: torch.cat(parts) for key, parts in joined.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((GOLDEN / name / "config.json").read_text())
    ours = load_kyutai(GOLDEN / name).state_dict()
    assert len(joined) == 8
    for key, value in load_kyutai(tmp_path).state_dict().items():
        assert torch.equal(value, ours[key])


# streaming equals whole sequences


@st.composite
def batches(draw: st.DrawFn) -> tuple[LMConfig, int, list[Session]]:
    """Sessions of different lengths in a few slots, one after the other and side by side."""
    config, slots = draw(st.sampled_from(CONFIGS)), draw(st.integers(1, 3))
    sessions = []
    for slot in range(slots):
        start = 0
        for _ in range(draw(st.integers(1, 2))):
            start, steps, seed = start + draw(st.integers(0, 4)), draw(st.integers(5, 18)), draw(st.integers(0, 99))
            sessions.append(Session(slot, start, user_codes(config, steps, seed), seed))
            start += steps
    return config, slots, sessions


@settings(max_examples=15, deadline=None)
@given(batches())
def test_streaming_equals_whole_sequences(batch: tuple[LMConfig, int, list[Session]]) -> None:
    config, slots, sessions = batch
    lm = wide(config)
    for session, said in zip(sessions, play(lm, slots, sessions, Decoding()), strict=True):
        assert said.tokens.shape[1] == session.user.shape[1] - max(config.delays)
        assert largest_difference(lm, said, session.user) < NOTHING


def test_the_naive_pairing_of_user_frames_is_off() -> None:
    lm, user = DuplexLM(SMALL), user_codes(SMALL, 20)
    said = play(lm, 1, [Session(0, 0, user)])[0]
    early = torch.cat([user[:, :1], user], 1)  # agent frame j beside the user codes of step j
    assert largest_difference(lm, said, early) > 0.1


def test_what_is_heard_in_the_first_step_changes_nothing() -> None:
    lm, user = DuplexLM(SMALL), user_codes(SMALL, 12)
    other = torch.cat([user_codes(SMALL, 1, seed=5), user[:, 1:]], 1)
    ours, theirs = (play(lm, 1, [Session(0, 0, codes)])[0] for codes in (user, other))
    assert torch.equal(ours.text_logits, theirs.text_logits)


def test_sessions_longer_than_the_context_see_the_same_sliding_window() -> None:
    lm, user = wide(SMALL), user_codes(SMALL, 6 * SMALL.context)
    said = play(lm, 1, [Session(0, 0, user)])[0]
    assert largest_difference(lm, said, user) < NOTHING
    farther = wide(replace(SMALL, context=100))  # the same weights
    late = (farther(torch.zeros(1, 6, 40).long()).text_logits - lm(torch.zeros(1, 6, 40).long()).text_logits)[0].abs()
    assert late[: SMALL.context].max() < NOTHING < 1e-3 < late[-1].max()  # and the window does matter


@pytest.mark.parametrize("frames", [10, 6 * SMALL.context])
def test_half_precision_trains_towards_the_same(frames: int) -> None:
    lm, codes = DuplexLM(SMALL), noise(SMALL, slice(None), 2, frames)

    def descend(half: bool) -> tuple[Tensor, list[Tensor]]:
        lm.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            hidden = lm.hidden(lm.delayed(codes)[:, :, :-1])
        hidden[..., :3].float().square().mean().backward()
        return hidden.detach().float(), [p.grad.clone() for p in lm.layers.parameters() if p.grad is not None]

    (whole, slopes), (half, rounded) = descend(False), descend(True)
    assert 0 < (half - whole).norm() < 0.02 * whole.norm()
    for slope, other in zip(slopes, rounded, strict=True):
        assert (slope - other).norm() < 0.05 * slope.norm()


def test_many_frames_in_many_places_of_the_ring() -> None:
    config = replace(SMALL, context=100)
    lm, users = wide(config), [user_codes(config, n, seed=n) for n in (150, 70, 10)]
    sessions = [Session(slot, 3 * slot, user) for slot, user in enumerate(users)]
    for user, said in zip(users, play(lm, 3, sessions), strict=True):
        assert largest_difference(lm, said, user) < NOTHING


@pytest.mark.parametrize("config", CONFIGS)
def test_forced_tokens_are_said_and_the_rest_is_the_models(config: LMConfig) -> None:
    lm, steps, own = wide(config), 14, 1 + config.dep_q
    user, wanted = user_codes(config, steps), noise(config, slice(own), steps, seed=1)
    wanted[:, 6:] = FREE
    wanted[1, :] = FREE
    frames, logits = [], []
    with lm.streaming(1, GREEDY):
        for step in range(steps):
            out = lm.step(user[None, :, step], forced=wanted[None, :, step])
            frames += [out.tokens[0]] if out.ready[0] else []
            logits.append((out.text_logits[0], out.audio_logits[0]))
    said = Said(torch.stack(frames, 1), *(torch.stack(x) for x in zip(*logits, strict=True)))
    wanted = wanted[:, : said.tokens.shape[1]]
    assert torch.equal(said.tokens[wanted != FREE], wanted[wanted != FREE])
    assert largest_difference(lm, said, user) < NOTHING


# what may affect what


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(CONFIGS), st.integers(0, 5), st.integers(0, 11), st.integers(0, 99))
def test_a_code_affects_only_what_is_decided_after_it(config: LMConfig, stream: int, frame: int, seed: int) -> None:
    lm, codes = DuplexLM(config, seed), noise(config, slice(None), 1, 12, seed=seed)
    other = codes.clone()
    other[0, stream, frame] = (codes[0, stream, frame] + 1) % config.cards[stream]
    with torch.no_grad():
        before, after = everything(lm(codes)), everything(lm(other))
    moment = frame + config.delays[stream]  # the position at which the code is decided, or heard after all decisions
    for k in range(1 + config.dep_q):
        last = moment - config.delays[k]  # stream k's frame decided at that position
        untouched = last if stream < k else last + 1  # later streams of the same position follow from an own code
        torch.testing.assert_close(before[k][:, : max(untouched, 0)], after[k][:, : max(untouched, 0)], atol=0, rtol=0)


def test_the_users_last_frame_does_not_affect_that_frame() -> None:
    lm, codes = DuplexLM(SMALL), noise(SMALL, slice(None), 2, 9)
    other = codes.clone()
    other[:, 4:, -1] = (codes[:, 4:, -1] + 3) % SMALL.card
    earlier = codes.clone()
    earlier[:, 4:, -2] = (codes[:, 4:, -2] + 3) % SMALL.card
    with torch.no_grad():
        last, changed, sooner = (lm(x) for x in (codes, other, earlier))
    assert all(torch.equal(a, b) for a, b in zip(last, changed, strict=True))
    assert not torch.equal(last.text_logits, sooner.text_logits)


@pytest.mark.parametrize("config", CONFIGS)
def test_padding_never_changes_a_loss(config: LMConfig) -> None:
    lm, late = wide(config), max(config.delays)
    codes = noise(config, slice(None), 3, 10)
    codes[:, :, 4][torch.rand(codes.shape[:2], generator=torch.Generator().manual_seed(0)) < 0.3] = NO_INPUT
    padded = [pad(codes, (0, n), value=NO_INPUT) for n in (late, late + 1, late + 9)]
    with torch.no_grad():
        losses = [loss(lm(x), x) for x in padded]
        out = lm(padded[0])
    torch.testing.assert_close(losses[0], losses[1], atol=NOTHING, rtol=0)
    torch.testing.assert_close(losses[0], losses[2], atol=NOTHING, rtol=0)
    own = padded[0][:, : 1 + config.dep_q]
    garbage = torch.where(own == NO_INPUT, 7, padded[0][:, : 1 + config.dep_q])
    assert torch.equal(loss(out, garbage), loss(out, own))
    assert torch.equal(out.text_mask, own[:, 0] != NO_INPUT)
    assert (out.text_logits[~out.text_mask] == 0).all()
    assert (out.audio_logits[~out.audio_mask] == 0).all()


def test_a_masked_place_gives_no_gradient() -> None:
    lm, codes = DuplexLM(SMALL), noise(SMALL, slice(None), 2, 9)
    codes[:, :4, 5:] = NO_INPUT
    out = lm(codes)
    (out.text_logits[~out.text_mask].sum() + out.audio_logits[~out.audio_mask].sum()).backward()
    assert all(p.grad is None or not p.grad.any() for p in lm.parameters())


@pytest.mark.parametrize("frames", [1, 2])
def test_sequences_shorter_than_the_delays_work(frames: int) -> None:
    out = DuplexLM(SLOW)(noise(SLOW, slice(None), 2, frames))
    assert out.audio_logits.shape == (2, 3, frames, SLOW.card)
    assert out.audio_mask.sum((0, 2)).tolist() == [2 * max(frames - late, 0) for late in SLOW.delays[1:4]]


# sessions side by side


@pytest.mark.parametrize("decoding", [GREEDY, Decoding(), Decoding(1.3, 1.1, 0, 0)], ids=["greedy", "sampled", "free"])
@pytest.mark.parametrize("config", CONFIGS)
def test_neighbours_never_influence_a_session(config: LMConfig, decoding: Decoding) -> None:
    lm, user = wide(config), user_codes(config, 25)
    alone = play(lm, 1, [Session(0, 0, user, seed=8)], decoding)[0]
    for slots, slot, start in ((2, 1, 0), (5, 2, 3), (16, 9, 1)):
        others = [Session(i, i % 4, user_codes(config, 9 + i, seed=i), seed=i) for i in range(slots) if i != slot]
        said = play(lm, slots, [Session(slot, start, user, seed=8), *others], decoding)[0]
        assert torch.equal(said.tokens, alone.tokens)
        torch.testing.assert_close(said.text_logits, alone.text_logits, atol=NOTHING, rtol=0)
        torch.testing.assert_close(said.audio_logits, alone.audio_logits, atol=NOTHING, rtol=0)


def test_a_session_that_pauses_goes_on_as_if_it_had_not() -> None:
    lm, user, other = wide(SMALL), user_codes(SMALL, 30), user_codes(SMALL, 60, seed=1)
    at_once = play(lm, 1, [Session(0, 0, user)], Decoding())[0]
    logits, frames = [], []
    with lm.streaming(2, Decoding()):
        for step in range(60):
            active = torch.tensor([step % 2 == 0, True])
            out = lm.step(torch.stack([user[:, step // 2], other[:, step]]), active)
            if active[0]:
                logits.append(out.text_logits[0])
                frames += [out.tokens[0]] if out.ready[0] else []
    torch.testing.assert_close(torch.stack(logits), at_once.text_logits, atol=NOTHING, rtol=0)
    assert torch.equal(torch.stack(frames, 1), at_once.tokens)


def test_a_slot_forgets_even_what_is_not_a_number() -> None:
    lm, user = DuplexLM(SMALL), user_codes(SMALL, 20)
    fresh = play(lm, 1, [Session(0, 0, user)])[0]
    with lm.streaming(1, GREEDY):
        assert lm._talk is not None
        lm._talk.ring += torch.nan
        lm.reset(torch.tensor([True]))
        logits = [lm.step(user[None, :, step]).text_logits[0] for step in range(20)]
    assert torch.equal(torch.stack(logits), fresh.text_logits)


# decoding


def test_the_seed_decides_what_is_sampled() -> None:
    lm, user = DuplexLM(SMALL), user_codes(SMALL, 30)
    one, again, other = (play(lm, 1, [Session(0, 0, user, seed)], Decoding())[0].tokens for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_large_padding_bias_leaves_only_padding_and_a_very_low_one_none() -> None:
    lm, user = DuplexLM(SMALL), user_codes(SMALL, 30)
    for decoding in (GREEDY, Decoding()):
        shy = play(lm, 1, [Session(0, 0, user)], replace(decoding, padding_bias=1e4))[0].tokens[0]
        chatty = play(lm, 1, [Session(0, 0, user)], replace(decoding, padding_bias=-1e4))[0].tokens[0]
        assert (shy == SMALL.existing_text_padding_id).all()
        assert (chatty != SMALL.existing_text_padding_id).all()


def test_the_padding_bias_is_not_in_the_logits_that_are_given_back() -> None:
    lm, user = DuplexLM(SMALL), user_codes(SMALL, 1)
    plain, biased = (
        play(lm, 1, [Session(0, 0, user.repeat(1, 2))], replace(GREEDY, padding_bias=b))[0] for b in (0, 9)
    )
    assert torch.equal(plain.text_logits[0], biased.text_logits[0])


def test_temperature_zero_takes_the_likeliest_and_so_does_top_one() -> None:
    lm, user = DuplexLM(SMALL), user_codes(SMALL, 25)
    greedy, top = (play(lm, 1, [Session(0, 0, user)], how)[0] for how in (GREEDY, Decoding(9, 9, 1, 1)))
    assert torch.equal(greedy.tokens[0], greedy.text_logits.argmax(-1)[: greedy.tokens.shape[1]])
    assert torch.equal(greedy.tokens, top.tokens)


def test_sampling_follows_the_softmax_of_the_top_k_and_each_token_has_its_own_luck() -> None:
    lm, n = DuplexLM(SMALL), 4000
    with lm.streaming(n, Decoding(text_temperature=1.7, audio_temperature=1.5, text_top_k=4, audio_top_k=0)):
        lm.reset(torch.ones(n, dtype=torch.bool), range(n))
        first = lm.step(torch.zeros(n, 2).long())
        text, code = lm.step(torch.zeros(n, 2).long()).tokens[:, :2].unbind(1)
    values, kept = first.text_logits[0].topk(4)
    share = torch.bincount(text, minlength=SMALL.text_card) / n
    assert share[kept].sum() == 1
    torch.testing.assert_close(share[kept], torch.softmax(values / 1.7, 0), atol=0.03, rtol=0)
    same = text == kept[0]  # they share the logits of the first code
    share = torch.bincount(code[same], minlength=SMALL.card) / same.sum()
    wanted = torch.softmax(first.audio_logits[same][0, 0] / 1.5, 0)
    torch.testing.assert_close(share, wanted, atol=0.04, rtol=0)


# training


@pytest.mark.parametrize("config", CONFIGS)
def test_gradient_checkpointing_gives_the_same_gradients(config: LMConfig) -> None:
    codes = noise(config, slice(None), 2, 10)
    plain, lean = (DuplexLM(config, checkpointing=flag).double() for flag in (False, True))
    for lm in (plain, lean):
        loss(lm(codes), codes).backward()
    for ours, theirs in zip(plain.parameters(), lean.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert ours.grad.any()
        torch.testing.assert_close(ours.grad, theirs.grad, atol=NOTHING, rtol=0)


def test_two_sequences_packed_in_one_row_equal_two_rows() -> None:
    """What a trainer needs to share contexts: attention is a parameter, and nothing else mixes frames."""
    lm, length = wide(SMALL), 6
    rows = lm.delayed(noise(SMALL, slice(None), 2, length - 1))  # [2, K, length]
    rotation = rotations(torch.arange(length).repeat(2)[None], SMALL)
    apart = torch.block_diag(*[torch.ones(length, length).tril()] * 2).bool()

    def attend(layer: int, qkv: Tensor) -> Tensor:
        q, k, v = split_heads(qkv, SMALL.num_heads, rotation)
        return scaled_dot_product_attention(q, k, v, attn_mask=apart).transpose(1, 2).flatten(2)

    with torch.no_grad():
        packed = lm.hidden(torch.cat(list(rows), 1)[None], attend)
        torch.testing.assert_close(packed.view(2, length, -1), lm.hidden(rows), atol=NOTHING, rtol=0)


def test_a_few_steps_of_training_lower_the_loss_and_streaming_follows_the_new_weights() -> None:
    lm, codes = wide(SMALL), noise(SMALL, slice(None), 4, 12)
    user, optimiser = user_codes(SMALL, 12), torch.optim.AdamW(lm.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        losses.append(loss(lm(codes), codes))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.7 * losses[0]
    assert largest_difference(lm, play(lm, 1, [Session(0, 0, user)])[0], user) < 1e-4


def test_the_seed_gives_the_first_weights_and_leaves_the_global_generator_alone_in_them() -> None:
    torch.manual_seed(1)
    one = DuplexLM(SMALL, seed=5).state_dict()
    torch.manual_seed(2)
    again, other = DuplexLM(SMALL, seed=5).state_dict(), DuplexLM(SMALL, seed=6).state_dict()
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["text_embedding"], other["text_embedding"])


# checkpoints


@goldens
def test_a_saved_model_is_kyutais_file_again(name: str, tmp_path: Path) -> None:
    lm = load_kyutai(GOLDEN / name)
    save_kyutai(lm, tmp_path / "new")
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "new", GOLDEN / name))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    stated = json.loads((tmp_path / "new" / "config.json").read_text())
    original = json.loads((GOLDEN / name / "config.json").read_text())
    assert all(stated[key] == value for key, value in original.items() if key in stated)
    assert load_kyutai(tmp_path / "new").config == lm.config
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("wanted", [torch.bfloat16, torch.float32])
def test_every_float_type_is_read(stored: torch.dtype, wanted: torch.dtype, tmp_path: Path) -> None:
    lm = DuplexLM(SMALL)
    save_kyutai(lm.to(stored), tmp_path)
    read = load_kyutai(tmp_path, wanted)
    assert {p.dtype for p in read.parameters()} == {wanted}
    codes = noise(SMALL, slice(None), 1, 9)
    out = read(codes)
    exact = DuplexLM(SMALL)(codes)
    assert out.text_logits.dtype == wanted
    torch.testing.assert_close(out.text_logits.float(), exact.text_logits, atol=0.1, rtol=0)
    assert play(read, 1, [Session(0, 0, user_codes(SMALL, 5))], Decoding())[0].tokens.shape[1] == 4


def without(key: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.pop(key)


def with_more(key: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.setdefault(key, torch.zeros(3))


def with_shape(key: str, *shape: int) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.update({key: torch.zeros(shape)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("out_norm.alpha"), r"out_norm\.alpha is missing"),
        (without("linears.2.weight"), r"linears\.2\.weight is missing"),
        (with_more("condition_provider.x"), r"condition_provider\.x is not this model's"),
        (with_more("linears.3.weight"), r"linears\.3\.weight is not this model's"),
        (with_shape("text_linear.weight", 12, 16), r"text_linear\.weight is \[12, 16\], not \[13, 16\]"),
        (with_shape("depformer_in.1.weight", 16, 8), r"depformer_in\.1\.weight is \[16, 8\], not \[8, 16\]"),
        (with_shape("out_norm.alpha", 16), r"out_norm\.alpha is \[16\], not \[1, 1, 16\]"),
    ],
)
def test_a_file_of_another_model_is_refused(
    change: Callable[[dict[str, Tensor]], object], message: str, tmp_path: Path
) -> None:
    save_kyutai(DuplexLM(SMALL), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=message):
        load_kyutai(tmp_path)


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    save_kyutai(DuplexLM(SMALL), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(replace(SMALL, text_card=20).to_kyutai()))
    with pytest.raises(InputError, match=r"3 tensors: .*\[14, 8\], not \[21, 8\]"):
        load_kyutai(tmp_path)


def test_a_cut_or_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        load_kyutai(tmp_path)
    save_kyutai(DuplexLM(SMALL), tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    for cut in (0, 5, 1000, len(content) - 4):
        (tmp_path / "model.safetensors").write_bytes(content[:cut])
        with pytest.raises(InputError, match=r"model\.safetensors cannot be read"):
            load_kyutai(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors cannot be read"):
        load_kyutai(tmp_path)
    for text in ("{", "[1, 2]", "7"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InputError, match=r"config\.json cannot be read"):
            load_kyutai(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layer": 3}, "unknown key 'num_layer'; did you mean 'num_layers'"),
        ({"dim": "16"}, "Expected `int`, got `str`"),
        ({"dim": None}, "Expected `int`, got `null`"),
        ({"norm": "layer_norm"}, "norm is 'layer_norm'; only 'rms_norm_f32' is built here"),
        ({"conditioners": {"speaker": {}}}, "conditioners"),
        ({"cross_attention": True}, "cross_attention is True"),
        ({"depformer_weights_per_step": False}, "depformer_weights_per_step is False"),
        ({"kv_repeat": 2}, "kv_repeat is 2; only 1"),
        ({"delays": [0, 1]}, "1 \\+ n_q delays"),
        ({"num_heads": 3}, "heads of even width"),
        ({"dep_q": 6}, "dep_q in 2..n_q"),
        ({"depformer_weights_per_step_schedule": [0, 1]}, "a weight set for each"),
        ({"depformer_dim_feedforward": [32, 32, 48]}, "one feed-forward width"),
        ({"existing_text_padding_id": 13}, "padding inside"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LMConfig.from_kyutai(SMALL.to_kyutai() | change)


def test_a_missing_key_is_refused_also_where_absence_means_another_form() -> None:
    for key, message in (("dim", "missing required field `dim`"), ("norm", "norm is None")):
        data = SMALL.to_kyutai()
        del data[key]
        with pytest.raises(InputError, match=message):
            LMConfig.from_kyutai(data)


def test_moshis_own_configuration_is_read() -> None:
    delays = [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]
    data = SMALL.to_kyutai() | {"depformer_causal": True, "depformer_context": 8, "conditioners": {}, "fuser": None}
    data |= {"dim": 4096, "num_heads": 32, "hidden_scale": 4.125, "n_q": 16, "dep_q": 8, "delays": delays}
    data |= {"depformer_dim": 1024, "depformer_num_heads": 16, "depformer_dim_feedforward": 4224}
    assert LMConfig.from_kyutai(data).widths == (11264, 2816)


# misuse


def test_misuse_of_streaming_is_one_clear_error() -> None:
    lm, user = DuplexLM(SMALL), torch.zeros(2, 2).long()
    with pytest.raises(InputError, match="open `with model"):
        lm.step(user)
    with lm.streaming(2):
        with pytest.raises(InputError, match="once at a time"), lm.streaming(1):
            pass
        with pytest.raises(InputError, match=r"3 sessions, 0 seeds: there are 2 slots"):
            lm.reset(torch.ones(3, dtype=torch.bool))
        with pytest.raises(InputError, match=r"2 sessions, 1 seeds"):
            lm.reset(torch.ones(2, dtype=torch.bool), [1])
    with pytest.raises(InputError, match="open `with model"):
        lm.reset(torch.ones(2, dtype=torch.bool))
    with pytest.raises(InputError, match="at least one slot"), lm.streaming(0):
        pass
    with pytest.raises(InputError, match="cannot be negative"):
        Decoding(text_temperature=-1)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        (torch.zeros(2, 3).long(), r"integers \[2, 2\], not torch.int64 \[2, 3\]"),
        (torch.zeros(3, 2).long(), r"integers \[2, 2\], not torch.int64 \[3, 2\]"),
        (torch.zeros(2, 2, 1).long(), r"integers \[2, 2\]"),
        (torch.zeros(2, 2), r"not torch.float32"),
        (torch.tensor([[0, 0], [0, 11]]), "below the sizes"),
        (torch.tensor([[0, 0], [FREE, 0]]), "at least -1"),
    ],
)
def test_user_codes_that_cannot_be_heard_are_refused_and_change_nothing(user: Tensor, message: str) -> None:
    lm, codes = wide(SMALL), user_codes(SMALL, 12)
    undisturbed = play(lm, 1, [Session(0, 0, codes)], Decoding())[0]
    logits = []
    with lm.streaming(2):
        for frame in codes.unbind(1):
            with pytest.raises(InputError, match=message):
                lm.step(user)
            logits.append(lm.step(torch.stack([frame, frame])).text_logits[0])
    torch.testing.assert_close(torch.stack(logits), undisturbed.text_logits, atol=NOTHING, rtol=0)


def test_narrow_integers_are_codes_too() -> None:
    lm, codes = DuplexLM(SMALL), noise(SMALL, slice(None), 2, 9)
    codes[0, :, 7:] = NO_INPUT
    with torch.no_grad():
        assert torch.equal(lm(codes).text_logits, lm(codes.to(torch.int16)).text_logits)
    with lm.streaming(2):
        lm.step(codes[:, 4:, 0].to(torch.int16), forced=codes[:, :4, 0].to(torch.int16))


def test_sequences_that_are_no_sequences_of_this_model_are_refused() -> None:
    lm, codes = DuplexLM(SMALL), noise(SMALL, slice(None), 2, 5)
    for wrong in (codes[:, :5], codes.float(), codes - 20, codes + 20):
        with pytest.raises(InputError, match="codes must be"):
            lm(wrong)

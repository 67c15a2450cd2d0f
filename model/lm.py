"""The language model of a full-duplex talk: text, the agent's audio and the user's, 12.5 frames a second.

One class trains on whole sequences, talks frame by frame, and is read from and written to Kyutai's checkpoints (the
RQ-Transformer of Moshi, arXiv 2410.00037). Streams stand in the order text, agent audio, user audio; stream k enters
the model `delays[k]` frames late.

The one non-obvious thing is which user frame stands beside which agent frame. Step s of a talk hears the user's codes
u[s], then decides the text and the undelayed codes of agent frame s, and so completes frame s - max(delays). What is
heard before the agent has decided anything, u[0], is never used. A training sequence holds in frame j what the agent
did in frame j and what it heard just after deciding that: agent frame j beside u[j + 1]. Trained or scored like this,
a recorded talk gives the very logits it was sampled from; beside u[j] it does not. Hence the user's last frame cannot
affect that frame's predictions. At Moshi's delays a training column is a step's `tokens` and the codes it was given.

It deliberately knows nothing of losses, sound and words, nor of when a session begins and ends.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from model import lm_layers as parts
from model.lm_kyutai import LMConfig, read_config, read_weights, write
from protocols.errors import InputError

__all__ = [
    "FREE",
    "NO_INPUT",
    "Decoding",
    "DuplexLM",
    "LMConfig",
    "LMOutput",
    "LMStep",
    "load_kyutai",
    "load_weights",
    "save_kyutai",
]

NO_INPUT = -1  # in place of a code: the model neither hears nor predicts it
FREE = -2  # in place of a forced token: the model decides


class LMOutput(NamedTuple):
    """Logits beside the codes they predict; where a mask is False they are zeros and mean nothing."""

    text_logits: Tensor  # [B, T, text_card]
    text_mask: Tensor  # bool [B, T]
    audio_logits: Tensor  # [B, dep_q, T, card]
    audio_mask: Tensor  # bool [B, dep_q, T]


class LMStep(NamedTuple):
    """What step s gave in every slot."""

    tokens: Tensor  # [B, 1 + dep_q], agent frame s - max(delays); NO_INPUT where not ready
    ready: Tensor  # bool [B], False in a session's first max(delays) steps and in slots that were not active
    text_logits: Tensor  # [B, text_card], before bias and temperature
    audio_logits: Tensor  # [B, dep_q, card]; codebook k's are of agent frame s - its delay


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen. Temperature 0 takes the likeliest; top-k 0 leaves all in."""

    text_temperature: float = 0.7
    audio_temperature: float = 0.8
    text_top_k: int = 25
    audio_top_k: int = 250
    padding_bias: float = 0.0  # added to the logit of PAD: higher, and the agent says less

    def __post_init__(self) -> None:
        if min(self.text_temperature, self.audio_temperature, self.text_top_k, self.audio_top_k) < 0:
            raise InputError("temperatures and top-k cannot be negative")


@dataclass
class _Talk:
    """The streaming state of all slots."""

    decoding: Decoding
    turns: list[parts.Turn]
    ring: Tensor  # [layers, 2, B, H, context, D], keys and values
    position: Tensor  # [B], steps taken by each slot's session
    fresh: Tensor  # [K, W], the window of a session that has not begun
    window: Tensor  # [B, K, W], tokens as the model sees them, delayed; column max(delays) is the present step's input
    generators: list[torch.Generator]

    def chances(self, active: Tensor, n: int) -> Tensor:
        """[B, n] numbers in [0, 1), each slot's from its own generator; only active slots draw."""
        drawn = torch.zeros(len(active), n)
        for slot in active.nonzero()[:, 0].tolist():
            drawn[slot] = torch.rand(n, generator=self.generators[slot])
        return drawn.to(active.device)


class DuplexLM(nn.Module):
    """Temporal and depth transformer; `seed` gives the first weights.

    checkpointing: keep less for the backward pass and compute it again, with the same gradients.
    """

    def __init__(self, config: LMConfig, seed: int = 0, checkpointing: bool = False) -> None:
        super().__init__()
        c, self.config, self.checkpointing = config, config, checkpointing
        self._talk: _Talk | None = None
        self.text_embedding = nn.Parameter(torch.empty(c.text_card + 1, c.dim))
        self.audio_embedding = nn.Parameter(torch.empty(c.n_q, c.card + 1, c.dim))
        self.layers = nn.ModuleList(parts.Block(c.dim, c.widths[0], parts.Linear) for _ in range(c.num_layers))
        self.norm = nn.Parameter(torch.ones(c.dim))
        self.text_head = parts.Linear(c.dim, c.text_card)
        self.depth = parts.DepthTransformer(c)
        if not self.norm.is_meta:
            generator = torch.Generator(self.norm.device).manual_seed(seed)
            for weight in (p for p in self.parameters() if p.dim() > 1):  # truncated normal of variance 1 / inputs
                std = weight.shape[-1] ** -0.5
                nn.init.trunc_normal_(weight, 0.0, std, -3 * std, 3 * std, generator)

    def forward(self, codes: Tensor) -> LMOutput:
        """Logits of whole sequences: codes [B, K, T], not delayed, NO_INPUT where padded or unknown."""
        c, (batch, _, frames) = self.config, codes.shape
        own, delayed = 1 + c.dep_q, self.delayed(codes)
        hidden = self.hidden(delayed[:, :, :-1])  # [B, T, dim]
        before = delayed[:, : c.dep_q, 1:].transpose(1, 2).flatten(0, 1)  # [B * T, dep_q]
        audio = self.depth(hidden.flatten(0, 1), before, self.checkpointing).view(batch, frames, c.dep_q, c.card)
        late = torch.tensor(c.delays[:own], device=codes.device)[:, None]
        mask = (codes[:, :own] != NO_INPUT) & (torch.arange(frames, device=codes.device) + late < frames)
        # Position t predicts frame t - delay: each stream moves forward, zeros follow at its end.
        streams = (self.text_head(hidden), *audio.unbind(2))
        moved = [pad(x[:, d:], (0, 0, 0, min(d, frames))) for x, d in zip(streams, c.delays, strict=False)]
        text, *rest = (x.masked_fill(~mask[:, k, :, None], 0) for k, x in enumerate(moved))
        return LMOutput(text, mask[:, 0], torch.stack(rest, 1), mask[:, 1:])

    def delayed(self, codes: Tensor) -> Tensor:
        """What the model sees of codes [B, K, T]: [B, K, T + 1], each stream late and behind its initial token."""
        _check(codes, [len(codes), len(self.config.cards), codes.shape[-1]], NO_INPUT, self.config.cards)
        out = torch.tensor(self.config.cards, device=codes.device)[:, None].repeat(len(codes), 1, 1 + codes.shape[2])
        for stream, late in enumerate(self.config.delays):
            out[:, stream, 1 + late :] = codes[:, stream, : max(codes.shape[2] - late, 0)]
        return out

    def hidden(self, delayed: Tensor, attend: parts.Attend | None = None) -> Tensor:
        """Hidden states [B, S, dim] of delayed tokens [B, K, S]; `text_head` and `depth` turn them into logits.

        attend: another attention, with its own positions, for rows that are not plain sequences (it does what
        `attend_causally` does there). One that answers for the last rows only in the last layer gets only those.
        """
        text, audio = delayed[:, :1].mT, delayed[:, 1:].mT
        first_row = torch.arange(self.config.n_q, device=audio.device) * (self.config.card + 1)
        rows = torch.where(audio < 0, NO_INPUT, audio + first_row)
        x = parts.embed(self.text_embedding, text) + parts.embed(self.audio_embedding.flatten(0, 1), rows)
        attend = attend or parts.attend_causally(self.config, delayed.shape[2], delayed.device)
        return parts.rms_norm(parts.through(self.layers, x, attend, self.checkpointing, lean=True), self.norm)

    @contextmanager
    def streaming(self, slots: int, decoding: Decoding = Decoding()) -> Iterator[None]:
        """Within it the model talks: `slots` independent sessions, all fresh and seeded 0."""
        if self._talk is not None or slots < 1:
            raise InputError("a model streams once at a time, with at least one slot")
        c, device, late = self.config, self.norm.device, max(self.config.delays)
        fresh = torch.full((len(c.cards), 2 * late + 2), FREE, device=device)
        for stream, delay in enumerate(c.delays):
            fresh[stream, : late + delay + 1] = c.cards[stream]
        with torch.no_grad():
            turns = self.depth.turns()
        ring = self.norm.new_zeros(c.num_layers, 2, slots, c.num_heads, c.context, c.dim // c.num_heads)
        position = torch.zeros(slots, dtype=torch.long, device=device)
        generators = [torch.Generator().manual_seed(0) for _ in range(slots)]
        self._talk = _Talk(decoding, turns, ring, position, fresh, fresh.repeat(slots, 1, 1), generators)
        try:
            yield
        finally:
            self._talk = None

    def reset(self, slot_mask: Tensor, seeds: Sequence[int] = ()) -> None:
        """Begin a session in every slot of slot_mask, bool [B], with one of `seeds` each (none given: 0)."""
        talk, chosen = self._talking(), slot_mask.nonzero()[:, 0].tolist()
        if slot_mask.shape != talk.position.shape or len(seeds) not in (0, len(chosen)):
            raise InputError(f"{len(slot_mask)} sessions, {len(seeds)} seeds: there are {len(talk.position)} slots")
        talk.ring[:, :, slot_mask] = 0  # a number that is not finite would get past any mask
        talk.position[slot_mask] = 0
        talk.window[slot_mask] = talk.fresh
        for slot, seed in zip(chosen, seeds or [0] * len(chosen), strict=True):
            talk.generators[slot].manual_seed(seed)

    @torch.no_grad()
    def step(self, user: Tensor, active: Tensor | None = None, forced: Tensor | None = None) -> LMStep:
        """Hear user codes [B, n_q - dep_q] in the slots of `active`, bool [B] (default: all), and speak there.

        forced: tokens [B, 1 + dep_q] of agent frame s, not delayed, FREE where the model decides. Other slots stay as
        they are. Codes of a wrong shape or out of range raise InputError, and nothing has changed.
        """
        talk, c, own, late = self._talking(), self.config, 1 + self.config.dep_q, max(self.config.delays)
        active = torch.ones_like(talk.position, dtype=torch.bool) if active is None else active
        forced = talk.position.new_full((len(active), own), FREE) if forced is None else forced
        _check(user, [len(talk.position), 1 + c.n_q - own], NO_INPUT, c.cards[own:], active)
        _check(forced, [len(talk.position), own], FREE, c.cards[:own], active)
        window, streams = talk.window.clone(), torch.arange(1 + c.n_q, device=user.device)
        delays = torch.tensor(c.delays, device=user.device)
        heard, spoken, frame = late + delays[own:], late + 1 + delays[:own], 1 + delays[:own]
        _fill(window, streams[own:], heard, torch.where(active[:, None], user, NO_INPUT))
        _fill(window, streams[:own], spoken, forced)
        hidden = self.hidden(window[:, :, late, None], parts.attend_to_ring(c, talk.ring, talk.position))[:, 0]
        text_logits = self.text_head(hidden)
        audio_logits = self._decide(talk, window[:, :own, late + 1], hidden, text_logits, active)
        ready = active & (talk.position >= late)
        tokens = torch.where(ready[:, None], window[:, streams[:own], frame], NO_INPUT)
        next_window = pad(window[:, :, 1:], (0, 1), value=FREE)
        talk.window = torch.where(active[:, None, None], next_window, talk.window)
        talk.position += active
        return LMStep(tokens, ready, text_logits, audio_logits)

    def _decide(self, talk: _Talk, due: Tensor, hidden: Tensor, text_logits: Tensor, active: Tensor) -> Tensor:
        """Choose, in place, what is FREE of the tokens due [B, 1 + dep_q]; the logits of the audio."""
        how, pad_id = talk.decoding, self.config.existing_text_padding_id
        sampled = max(how.text_temperature, how.audio_temperature) > 0
        chances = talk.chances(active, due.shape[1]) if sampled else torch.zeros_like(due)

        def choose(stream: int, logits: Tensor, temperature: float, top_k: int) -> Tensor:
            picked = pick(logits.float(), chances[:, stream], temperature, top_k)
            due[:, stream] = torch.where(due[:, stream] == FREE, picked, due[:, stream])
            return due[:, stream]

        def choose_audio(codebook: int, logits: Tensor) -> Tensor:
            return choose(1 + codebook, logits, how.audio_temperature, how.audio_top_k)

        biased = text_logits.clone()
        biased[:, pad_id] += how.padding_bias
        text = choose(0, biased, how.text_temperature, how.text_top_k)
        return self.depth.speak(talk.turns, hidden, text, choose_audio)

    def _talking(self) -> _Talk:
        if self._talk is None:
            raise InputError("open `with model.streaming(slots=...)` first")
        return self._talk


def pick(logits: Tensor, chance: Tensor, temperature: float, top_k: int) -> Tensor:
    """Tokens [B] from logits [B, card], at the point `chance` [B], in [0, 1), of their distribution.

    One number decides, in the order of the vocabulary, so that rounding, which differs between batches, can only
    matter when it falls on a border.
    """
    if temperature == 0:
        return logits.argmax(-1)
    if 0 < top_k < logits.shape[-1]:
        least = logits.kthvalue(logits.shape[-1] - top_k + 1, -1, keepdim=True).values
        logits = logits.masked_fill(logits < least, -torch.inf)
    reached = torch.softmax(logits / temperature, -1).cumsum(-1)
    wanted = chance[:, None] * reached[:, -1:] * (1 - 1e-6)  # short of the whole, rounded or not
    return torch.searchsorted(reached, wanted, right=True)[:, 0]


def _fill(window: Tensor, streams: Tensor, columns: Tensor, tokens: Tensor) -> None:
    """Put tokens [B, n] into window [B, K, W], each into its stream and column, where that is FREE."""
    there = window[:, streams, columns]
    window[:, streams, columns] = torch.where(there == FREE, tokens.to(there.dtype), there)


def _check(codes: Tensor, shape: list[int], lowest: int, cards: Sequence[int], rows: Tensor | None = None) -> None:
    """InputError unless codes [B, n] or [B, n, T] have this shape and, in these rows, lie in `lowest` .. card - 1."""
    if [*codes.shape] != shape or codes.is_floating_point():
        raise InputError(f"codes must be integers {shape}, not {codes.dtype} {[*codes.shape]}")
    used = codes if rows is None else codes[rows]
    over = used.transpose(1, -1) >= torch.tensor(cards, device=codes.device)
    if over.any() or (used < lowest).any():
        raise InputError(f"codes must be at least {lowest} and below the sizes of their vocabularies, {list(cards)}")


def load_kyutai(folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> DuplexLM:
    """The model of Kyutai's config.json and safetensors file, of whatever float type, as `dtype`.

    InputError: a file is missing, cut or not what it should be; a tensor is missing, left over or of another shape.
    """
    return load_weights(*read_config(folder), dtype, device)


def load_weights(config: LMConfig, path: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> DuplexLM:
    """The model of a configuration, with the weights in Kyutai's safetensors file; InputError as for `load_kyutai`."""
    with torch.device("meta"):
        lm = DuplexLM(config)
    shapes = {name: parameter.shape for name, parameter in lm.named_parameters()}
    lm.load_state_dict(read_weights(path, shapes, dtype, device), assign=True)
    return lm


def save_kyutai(lm: DuplexLM, folder: Path) -> None:
    """Write config.json and model.safetensors into folder, as Kyutai's code reads them."""
    write(lm.config, {name: parameter.detach() for name, parameter in lm.named_parameters()}, folder)

"""The recipe of the shipped codec: speech from speakers that are handed over, codebooks, vocoder, one file.

The one non-obvious decision: codebooks are trained on the agent's voice and on many others, with levels, noise and
rooms, but the vocoder only ever learns the agent's voice; others' codes are for a model to read, not to be spoken.
The same speakers, seed and library versions give the same file. Takes about half an hour on one core, most of it
synthesis and vocoder; both go on where they were stopped.
This file does not make speakers (whoever calls it does, and leaves the held-out voices out) and does not judge.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.tiny.codec import BOOKS, CARD, PATCH, WEIGHTS, Quantiser
from model.tiny.features import HOPS, silent_patch
from model.tiny.train_speech import Cast, Progress, Utterance, clean_channel, data_hash, synthesise, user_channel
from model.tiny.train_vocoder import hear, train_vocoder
from model.tiny.vocoder import AXES
from model.tiny.weights import write_weights
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.errors import InputError

SEED = 0
AGENT_STRIDE, USER_STRIDE = 2, 4  # hops between the patches that are learnt from
TAKES = 2  # channels made of each user's sentences
STEPS = 3_400  # of the vocoder

Floats = npt.NDArray[np.float32]


def train(
    agent: Cast,
    users: Sequence[Cast],
    work: Path,
    out: Path = WEIGHTS,
    seed: int = SEED,
    steps: int = STEPS,
    progress: Progress = print,
) -> None:
    """Writes the weights to `out`; synthesised speech and checkpoints lie in `work`.

    agent has one voice. InputError if it has not, or if a user speaks with the agent's voice.
    """
    _check_casts(agent, users)
    clock = _Clock(progress)
    spoken = list(synthesise(agent, work / "speech", seed, progress))
    heard = [u for cast in users for u in synthesise(cast, work / "speech", seed, progress)]
    clock.lap("speech")
    rng = np.random.default_rng(seed)
    channel = clean_channel(spoken, rng)
    patches = np.concatenate([_patches(channel, AGENT_STRIDE), *_user_patches(heard, rng)])
    clock.lap(f"{len(channel) / SAMPLE_RATE:.0f} s of the agent, {len(patches)} patches in all")
    tensors = train_codebooks(patches, seed, progress)
    clock.lap("codebooks")
    tensors = {name: tensor.astype(np.float16).astype(np.float32) for name, tensor in tensors.items()}  # as shipped
    recipe = _recipe(agent, users, [*spoken, *heard], seed, steps)
    checkpoint = work / f"vocoder.{_name(recipe, tensors)}.pt"
    tensors |= train_vocoder(channel, Quantiser(**tensors), steps, seed, checkpoint, progress)
    clock.lap("vocoder")
    write_weights(out, tensors, recipe)
    progress(f"wrote {out}, {out.stat().st_size / 1e6:.2f} MB")


def train_codebooks(patches: Floats, seed: int, progress: Progress) -> dict[str, Floats]:
    """Principal axes and residual codebooks of patches [n, PATCH]; digital silence must not be among them."""
    from sklearn.cluster import MiniBatchKMeans

    mean = patches.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((patches - mean).T))
    axes = np.ascontiguousarray(vectors[:, ::-1][:, :AXES], dtype=np.float32)
    progress(f"{AXES} axes keep {values[::-1][:AXES].sum() / values.sum():.3f} of the variance")
    left = (patches - mean) @ axes
    whole = float(left.var(axis=0).sum())
    books = np.zeros((BOOKS, CARD, AXES), np.float32)
    for k in range(BOOKS):
        means = MiniBatchKMeans(
            CARD - 1, batch_size=4_096, n_init=1, max_iter=20, random_state=seed + k, reassignment_ratio=0
        ).fit(left)
        books[k, 1:] = means.cluster_centers_  # code 0 is silence
        nearest = means.predict(left)
        left = left - books[k, 1:][nearest]
        progress(f"book {k + 1} of {BOOKS}: {float(left.var(axis=0).sum()) / whole:.3f} of the variance left")
    return {"mean": mean, "axes": axes, "books": books}


def _check_casts(agent: Cast, users: Sequence[Cast]) -> None:
    if len(agent.voices) != 1:
        raise InputError(f"the agent has one voice, not {len(agent.voices)}")
    if any(cast.speaker.source == agent.speaker.source and agent.voices[0] in cast.voices for cast in users):
        raise InputError(f"{agent.voices[0]} is the agent's voice and cannot be a user's")


def _patches(channel: Audio, stride: int) -> Floats:
    """[n, PATCH]: every `stride` hops of a channel, without digital silence."""
    features = hear(channel)
    spans = np.lib.stride_tricks.sliding_window_view(features, HOPS, axis=0)[::stride]  # [n, N_FEATURES, HOPS]
    patches = np.ascontiguousarray(spans.transpose(0, 2, 1)).reshape(-1, PATCH)
    sounds: Floats = patches[(patches != silent_patch()).any(axis=1)]
    return sounds


def _user_patches(heard: Sequence[Utterance], rng: np.random.Generator) -> list[Floats]:
    """Patches of TAKES channels of every user voice, each with its own gain, noise, room and company."""
    voices = list(dict.fromkeys(u.voice for u in heard))
    babble = np.concatenate([heard[int(i)].audio for i in rng.permutation(len(heard))[:40]])
    found = []
    for voice in voices:
        own = [u for u in heard if u.voice == voice]
        channels = [user_channel([own[int(i)] for i in rng.permutation(len(own))], babble, rng) for _ in range(TAKES)]
        found += [_patches(channel, USER_STRIDE) for channel in channels]
    return found


def _recipe(
    agent: Cast, users: Sequence[Cast], speech: Sequence[Utterance], seed: int, steps: int
) -> dict[str, object]:
    """What the weights file says about how it was made."""
    casts = [{"source": c.speaker.source, "voices": list(c.voices), "sentences": c.sentences} for c in (agent, *users)]
    return {"agent": casts[0], "users": casts[1:], "seed": seed, "steps": steps, "data_sha256": data_hash(speech)}


def _name(recipe: Mapping[str, object], tensors: Mapping[str, Floats]) -> str:
    """Names what a vocoder is trained on, so that a checkpoint of anything else is not taken up."""
    total = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    for name in sorted(tensors):
        total.update(tensors[name].tobytes())
    return total.hexdigest()[:12]


class _Clock:
    """Tells the CPU seconds of each stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._start = time.process_time()

    def lap(self, stage: str) -> None:
        now = time.process_time()
        self._progress(f"{stage}: {now - self._start:.0f} s of CPU")
        self._start = now

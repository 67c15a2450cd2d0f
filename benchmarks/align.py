"""Preference pairs a processor second on one core: the packed forward beside what one would write instead.

Three ways to one gradient (DPO-LN on text), same weights, same pairs, in turns within one run:
  plain       four forwards over the whole sequences, two of them the reference's, all logits of all streams
  text only   the same without the depth transformer
  packed      one forward over [context | chosen | rejected], the reference's share stored before

`plain` is this house's own forward, not a slower stranger's. The heap is kept warm (glibc), so nothing here is page
faults saved. Times are the process's own, so that a busy machine is no argument. Peak memory is of a fresh process
each that has done a step of a few frames, above what stood before the step: packed, plain pair by pair, plain with four
pairs in one batch as trainers do.
The last row is a talk with four pairs on one trunk, which the plain ways must do pair by pair. Utilisation is of a
large matrix product's speed.

`python -m benchmarks.align [ROUNDS]`
"""

import ctypes
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.align import gradients
from model.align.attention import choose
from model.align.config import LossConfig
from model.align.data import TokenPair, Trunk, trunks
from model.align.logprobs import Scorer, Way, stream_log_probs
from model.align.losses import Replies, dpo_ln
from model.align.packing import pack
from model.align.reference import Reference
from model.align.size import Fork, forward_operations
from model.lm import DuplexLM, LMConfig

CONFIG = LMConfig(
    dim=256, num_layers=4, num_heads=4, hidden_scale=4.125, n_q=16, dep_q=8, card=256, text_card=1000, context=1500,
    delays=(0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1), depformer_dim=64, depformer_num_layers=2,
    depformer_num_heads=2, depformer_multi_linear=True,
)  # fmt: skip
GEOMETRIES = ((750, 100), (1000, 88), (1250, 63))  # frames of context and of each reply
FORKS = (750, 900, 1050, 1250)  # of the talk with four pairs
LOSS = LossConfig(beta=0.3)
COLUMNS = [
    "context, reply", "plain", "text only", "packed", "over plain", "over text only", "peak memory",
    "gradients differ", "utilisation",
]  # fmt: skip


class Models(NamedTuple):
    policy: DuplexLM
    reference: DuplexLM


def models() -> Models:
    """A random model, and a policy a little away from it."""
    reference = DuplexLM(CONFIG)
    policy, generator = deepcopy(reference), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in policy.parameters():
            p += 0.05 * p.std().nan_to_num() * torch.randn(p.shape, generator=generator)
    for p in policy.depth.parameters():
        p.requires_grad_(False)
    return Models(policy, reference.requires_grad_(False))


def tokens(frames: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, np.array(CONFIG.cards)[:, None], (len(CONFIG.cards), frames))
    codes[0, rng.random(frames) < 0.9] = CONFIG.existing_text_padding_id
    return codes.astype(np.int16)


def talk(forks: tuple[int, ...], reply: int) -> Trunk:
    """A talk with a pair at each fork."""
    past = tokens(max(forks), 0)
    sides = [(tokens(reply, 2 * i + 1), tokens(reply, 2 * i + 2)) for i in range(len(forks))]
    pairs = [TokenPair(str(i), "t", 0, "k", past[:, :c], *sides[i]) for i, c in enumerate(forks)]
    return trunks(pairs, len(pairs))[0]


def plain(lms: Models, trunk: Trunk, audio: bool, copies: int = 1) -> None:
    """Pair by pair; copies: that many of each in one batch."""
    for pair in trunk.pairs:
        sums = [_plain_scores(lm, pair.context, reply, audio, copies) for lm in lms for reply in pair.replies]
        counts = [torch.tensor(float(reply.shape[1])) for reply in pair.replies]
        (dpo_ln(Replies(*sums, *counts), LOSS).mean() / len(trunk.pairs)).backward()


def _plain_scores(lm: DuplexLM, context: np.ndarray, reply: np.ndarray, audio: bool, copies: int) -> Tensor:
    codes = torch.from_numpy(np.concatenate([context, reply], 1)).long().repeat(copies, 1, 1)
    logits = lm(codes).text_logits if audio else lm.text_head(lm.hidden(lm.delayed(codes)[:, :, :-1]))
    scores = logits.log_softmax(-1).gather(2, codes[:, 0, :, None])
    return scores[:, context.shape[1] :].sum((1, 2))


def task_of(lms: Models, trunk: Trunk) -> gradients.Task:
    """What the packed way is given: the reference's log-probabilities are in it."""
    way = Way(choose("auto", torch.device("cpu")), text=True, audio=False)
    with torch.no_grad():
        sums = stream_log_probs(lms.reference, pack(lms.reference, [trunk]), way).sums.unflatten(0, (-1, 2))
    digests = (pair.digest for pair in trunk.pairs)
    return gradients.Task(Scorer(lms.policy), way, LOSS, Reference(dict(zip(digests, sums, strict=True))), 1)


def ways(lms: Models, trunk: Trunk) -> dict[str, Callable[[], object]]:
    task = task_of(lms, trunk)
    return {
        "plain": lambda: plain(lms, trunk, audio=True),
        "text only": lambda: plain(lms, trunk, audio=False),
        "packed": lambda: gradients.backward(task, [trunk]),
    }


def in_a_batch(lms: Models, trunk: Trunk) -> None:
    plain(lms, trunk, audio=True, copies=4)


def row(name: str, trunk: Trunk, reply: int, rounds: int, speed: float) -> list[str]:
    lms, times, found = models(), {}, {}
    for how, step in ways(lms, trunk).items():  # the first round warms up, and is the one compared
        step()
        found[how] = {n: p.grad.clone() for n, p in lms.policy.named_parameters() if p.grad is not None}
        lms.policy.zero_grad()
        times[how] = []
    for _ in range(rounds):
        for how, step in ways(lms, trunk).items():
            started = time.process_time()
            step()
            times[how].append(time.process_time() - started)
            lms.policy.zero_grad()
    best = {how: min(each) for how, each in times.items()}
    differ = max(float((found["packed"][n] - g).abs().max() / g.abs().max()) for n, g in found["plain"].items())
    count, forks = len(trunk.pairs), [pair.context.shape[1] for pair in trunk.pairs]
    replies = [Fork(fork, reply) for fork in forks for _ in range(2)]
    memory = [peak_memory(how, forks, reply) for how in ("packed", "plain", "batch")]
    return [
        name,
        *(f"{count / best[how]:.2f} a second" for how in ("plain", "text only", "packed")),
        *(f"{best[how] / best['packed']:.1f}x" for how in ("plain", "text only")),
        " / ".join(f"{each:.0f}" for each in memory) + " MB",
        f"{differ:.0e}",
        f"{3 * forward_operations(CONFIG, replies) / best['packed'] / speed:.2f}",
    ]


def matrix_speed() -> float:
    """Operations a second of a 2048 x 2048 product."""
    a = torch.randn(2048, 2048)
    a @ a
    times = []
    for _ in range(3):
        started = time.process_time()
        a @ a
        times.append(time.process_time() - started)
    return 2 * 2048**3 / min(times)


def peak_memory(how: str, forks: list[int], reply: int) -> float:
    """MB above what stood before one step, in a process of its own."""
    call = [sys.executable, "-m", "benchmarks.align", "--memory", json.dumps([how, forks, reply])]
    return float(subprocess.run(call, capture_output=True, text=True, check=True).stdout)


def measure_memory(how: str, forks: list[int], reply: int) -> float:
    torch.set_num_threads(1)
    lms = models()

    def step_on(trunk: Trunk) -> Callable[[], object]:
        return partial(in_a_batch, lms, trunk) if how == "batch" else ways(lms, trunk)[how]

    step_on(talk((16,), 8))()  # the code it runs is loaded, which is nobody's activations
    lms.policy.zero_grad()
    step = step_on(talk(tuple(forks), reply))
    gc.collect()
    before = _status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:  # the peak so far is forgotten
        file.write("5")
    step()
    return _status("VmHWM") - before


def _status(name: str) -> float:
    with open("/proc/self/status") as file:
        return next(float(line.split()[1]) / 1024 for line in file if line.startswith(name))


def keep_heap_warm() -> None:
    """Large blocks come from a heap that is not given back, for every way alike; only glibc can be told so."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def rows(rounds: int) -> Iterator[list[str]]:
    """A row per geometry, and one of a talk with four pairs."""
    torch.set_num_threads(1)
    keep_heap_warm()
    speed = matrix_speed()
    for context, reply in GEOMETRIES:
        yield row(f"{context}, {reply}", talk((context,), reply), reply, rounds, speed)
    yield row(f"four pairs, {FORKS[0]} to {FORKS[-1]}, 88", talk(FORKS, 88), 88, rounds, speed)


def table() -> list[list[str]]:
    return list(rows(3))


if __name__ == "__main__":
    if "--memory" in sys.argv:
        print(measure_memory(*json.loads(sys.argv[-1])))
    else:
        print("".join(f"{name:<26}" for name in COLUMNS))
        for cells in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
            print("".join(f"{cell:<26}" for cell in cells), flush=True)

"""The alignment loop: pairs in, an aligned model out, any step of it resumable to the bit on a CPU.

A step's trunks follow from the seed and the step's number alone, so a checkpoint is the trained tensors, their
optimiser's moments and one integer. Before the first step the loss is compared with what it must be when policy and
reference are the same model: a reference that is not this model's, or a forward that is not repeatable, ends there.
Only the parameters the loss can reach are trained; the rest are frozen, so weight decay does not move them.

Loss and margin do not say how the aligned model behaves. A probe, any function of the model that gives figures, is
called while it trains, so that a collapse into silence or endless talk is seen when it happens.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor

from model.align import gradients, metrics
from model.align.attention import choose
from model.align.checkpoint import Checkpoints, State, changed_keys
from model.align.config import AlignConfig
from model.align.data import Split, Trunk, check_pair, digest_of
from model.align.journal import Journal
from model.align.logprobs import Scorer, Way, count_tokens
from model.align.losses import LOSSES
from model.align.objective import check_counts, pair_losses
from model.align.optim import optimiser_of, schedule, thaw
from model.align.packing import pack
from model.align.reference import Made, reference_for, weights_digest
from model.align.shards import clip, shard, share_of, whole, whole_model
from model.align.workers import ALONE, Workers
from model.lm import DuplexLM
from protocols.errors import InputError

Metrics = dict[str, float]
Probe = Callable[[DuplexLM, int], Mapping[str, float]]  # model, step -> figures


class Trainer:
    """Aligns `lm`, which is the reference as it comes in, in place. It holds what a checkpoint holds."""

    def __init__(
        self, lm: DuplexLM, config: AlignConfig, data: Split, probe: Probe | None = None, workers: Workers = ALONE
    ) -> None:
        workers = workers._replace(sharded=config.model.shard)
        self.lm, self.config, self.data, self.probe, self.workers = lm, config, data, probe, workers
        folder, run = Path(config.run.folder), config.run
        lm.checkpointing = config.model.checkpointing
        everything = [*data.train, *data.validation]
        if run.patience and not data.validation:
            raise InputError("run.patience needs pairs for validation; raise data.validation_share")
        weights, scorer = weights_digest(lm), Scorer(lm)
        thaw(lm, config)
        if workers.sharded:
            shard(scorer, config, workers)
        self._trained = {name: p for name, p in lm.named_parameters() if p.requires_grad}
        backend = choose(config.model.attention, lm.norm.device)
        self.way = Way(backend, config.text, config.audio, config.model.precision)
        self._check(everything)
        made = Made(weights, self.way.precision, self.way.text, self.way.audio)
        path = Path(run.reference) if run.reference else folder / "reference.safetensors"
        reference = reference_for(scorer, everything, self.way, path, made, workers)
        self.task = gradients.Task(scorer, self.way, config.loss, reference, config.optim.micro_batch, workers)
        self._optimiser = optimiser_of(self._trained, config)
        self.checkpoints, self._journal = Checkpoints(folder, run.keep), Journal(folder / "metrics.jsonl")
        self._bias = metrics.LengthBias()
        self.state = State(0, config.plain(), weights, digest_of(data.train), str(torch.__version__))

    @property
    def step(self) -> int:
        return self.state.step

    @property
    def steps_per_epoch(self) -> int:
        optim = self.config.optim
        return math.ceil(len(self.data.train) / (optim.micro_batch * optim.accumulate))

    @property
    def steps(self) -> int:
        """All of them, unless validation stops improving."""
        most = self.steps_per_epoch * self.config.optim.epochs
        return min(most, self.config.optim.max_steps or most)

    @property
    def stopped(self) -> bool:
        patience = self.config.run.patience
        return self.step >= self.steps or bool(patience and self.state.since_best >= patience)

    def run(self, until: int | None = None) -> Iterator[Metrics]:
        """Train to the end, or to step `until`, yielding and logging each step's figures; step 0 is the base model's.

        A loss or gradient that is not finite is an InputError that names the pair, and the last checkpoint stays.
        """
        if self.step == 0:
            if self.checkpoints.steps():
                raise InputError(f"{self.config.run.folder} holds a training already; resume it or give another folder")
            if self.workers.leads:
                self._journal.cut(-1)
            yield self._record({**self._evaluate(), **self._probe()})
        while not self.stopped and (until is None or self.step < until):
            found = self._descend()
            self.state = replace(self.state, step=self.step + 1)
            found |= self._evaluate() | self._probe()
            line = self._record(found)  # before the checkpoint: going on from one cuts lines, and cannot make them up
            every, best = self.config.run.save_every, self.state.best_step == self.step
            if best or self.stopped or (every and self.step % every == 0):
                self.save()
            yield line

    def save(self) -> Path:
        """Write a checkpoint of where this is; where it will be, in processes that do not write."""
        tensors = {name: p.detach() for name, p in self._trained.items()}
        for name, p in self._trained.items():
            for moment in ("exp_avg", "exp_avg_sq"):
                if p in self._optimiser.state:
                    tensors[f"{moment}/{name}"] = self._optimiser.state[p][moment]
        self.state = replace(self.state, lengths=list(self._bias.seen))
        tensors = whole(tensors, self.workers)
        return self.checkpoints.save(self.state, tensors) if self.workers.leads else self.checkpoints.path(self.step)

    def resume(self) -> bool:
        """Go on from the newest checkpoint; False where there is none. One of another training is an InputError."""
        steps = self.workers.gather(self.checkpoints.steps())[0]  # the first process may still have been writing one
        if steps:
            self._load(steps[-1])
            if self.workers.leads:
                self._journal.cut(self.step)
        return bool(steps)

    def take_best(self) -> int:
        """Put the best checkpoint's weights into the model, where validation named one; its step, else this one."""
        best = self.state.best_step
        if best is None:
            return self.step
        self.workers.gather(None)  # the first process may still be writing it
        _, tensors = self.checkpoints.load(best)
        with torch.no_grad():
            for name, p in self._trained.items():
                p.copy_(share_of(tensors[name], p, self.workers))
        return best

    def whole_model(self) -> DuplexLM:
        """The model as it is, also where it is dealt out: every process must ask, the first one gets it."""
        return whole_model(self.lm, self.config, self.workers)

    def _load(self, step: int) -> None:
        state, tensors = self.checkpoints.load(step)
        path, mine = self.checkpoints.path(step), self.state
        for what in ("weights", "pairs"):
            if getattr(state, what) != getattr(mine, what):
                raise InputError(f"{path} is of other {what}; give another folder")
        if changed := changed_keys(state.config, mine.config):
            raise InputError(f"{path} was made with another {', '.join(changed)}; give another folder")
        with torch.no_grad():
            for name, p in self._trained.items():
                p.copy_(share_of(tensors[name], p, self.workers))
                if f"exp_avg/{name}" in tensors:
                    moments = {m: share_of(tensors[f"{m}/{name}"], p, self.workers) for m in ("exp_avg", "exp_avg_sq")}
                    self._optimiser.state[p] = {"step": torch.tensor(float(step)), **moments}
        self.state, self._bias = replace(state, config=mine.config), metrics.LengthBias(state.lengths)

    def _descend(self) -> Metrics:
        """One step of the optimiser."""
        started, trunks = time.perf_counter(), self.batch(self.step)
        self._optimiser.zero_grad()
        try:
            outcome = gradients.backward(self.task, trunks)
            if self.step == 0 and self.way.precision == "float32":
                _check_start(outcome, self.config)
            norm = clip(self._trained.values(), self.config.optim.clip_norm, self.workers)
            if not norm.isfinite():
                names = ", ".join(pair.id for pair in gradients.pairs_of(trunks))
                raise InputError(f"the gradient is not finite; the step's pairs are {names}")
        except InputError as error:
            steps = self.checkpoints.steps()
            kept = f"the last good checkpoint is {self.checkpoints.path(steps[-1])}" if steps else "nothing was saved"
            raise InputError(f"step {self.step}: {error}; {kept}") from error
        share = schedule(self.step, self.steps, self.config.optim.warm_up)
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] * share
        self._optimiser.step()
        found = metrics.describe(outcome, self.config.loss) | self._bias.add(outcome, self.config.loss)
        pace = len(outcome.losses) / (time.perf_counter() - started)
        return found | {"grad_norm": float(norm), "lr": self.config.optim.lr * share, "pairs_per_second": pace}

    def batch(self, step: int) -> list[Trunk]:
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.config.run.seed, epoch]).permutation(len(self.data.train))
        size = self.config.optim.micro_batch * self.config.optim.accumulate
        return [self.data.train[i] for i in order[place * size : (place + 1) * size]]

    def _evaluate(self) -> Metrics:
        every = self.config.run.eval_every
        due = every and (self.step % every == 0 or self.step >= self.steps)
        if not due or not self.data.validation:
            return {}
        found = metrics.describe(gradients.measure(self.task, self.data.validation), self.config.loss)
        best = self.state.best_loss
        if self.step and (best is None or found["loss"] < best):
            self.state = replace(self.state, best_loss=found["loss"], best_step=self.step, since_best=0)
        elif self.step:
            self.state = replace(self.state, since_best=self.state.since_best + 1)
        return {f"eval_{name}": value for name, value in found.items()}

    def _probe(self) -> Metrics:
        every = self.config.run.probe_every
        due = every and (self.step % every == 0 or self.stopped)  # what comes out is always talked with
        if not due:
            return {}
        lm = self.whole_model()
        if self.probe is None or not self.workers.leads:
            return {}
        with torch.no_grad():
            found = self.probe(lm.to(self.lm.norm.device), self.step)
        return {f"probe/{name}": value for name, value in found.items()}

    def _record(self, found: Metrics) -> Metrics:
        line = {"step": self.step, **found}
        if self.workers.leads:
            self._journal.add(line)
        return line

    def _check(self, trunks: list[Trunk]) -> None:
        for pair in gradients.pairs_of(trunks):
            check_pair(pair, self.lm.config)
            if bool(pair.given) != LOSSES[self.config.loss.name].hindsight:
                form = "a user's next words" if pair.given else "a preference"
                raise InputError(
                    f"pair {pair.id} is {form}; the loss {self.config.loss.name} learns from the other form"
                )
        for trunk in trunks:
            counts = count_tokens(self.lm, pack(self.lm, [trunk]), self.way)
            check_counts(counts, [pair.id for pair in trunk.pairs], self.config.loss)


def _check_start(outcome: metrics.Outcome, config: AlignConfig) -> None:
    same = outcome.policy._replace(sums=outcome.reference.clone())
    wanted: Tensor = pair_losses(same, outcome.reference, config.loss).mean()
    off = float((outcome.losses.mean() - wanted).abs())
    if off > 1e-5 * max(1.0, abs(float(wanted))):
        raise InputError(f"the first loss is {off:.2g} off the {float(wanted):.6g} that the reference's own model has")

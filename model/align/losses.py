"""Preference losses as pure functions of log-probabilities: no model, no batch layout, no state.

Each gives one loss per pair, and a step's loss is their mean. With u and v the log-ratios (policy minus reference) of
the chosen and the rejected reply, a bar over them meaning "per token", and l(x) = log sigmoid(x), every docstring is
the formula and its source. Where published code disagrees the variant is TRL's (tests/golden/record_losses_trl.py),
except the likelihood terms of SFT, CPO and ORPO: they are per pair, not per batch, so that no pair's loss hangs on
its neighbours.

The one non-obvious thing is `coupled`: AOT sorts the pairs of a step, KTO and SDPO measure their zero on them, so these
are functions of a whole step and a trainer must not call them on a part of it. Which tokens make up a reply's
log-probability is decided elsewhere.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from protocols.base import Value
from protocols.errors import InputError, unknown_name


class Replies(NamedTuple):
    """Log-probabilities of P pairs of replies, each [P]: sums over a reply's scored tokens, and how many those are."""

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    chosen_count: Tensor
    rejected_count: Tensor

    @property
    def u(self) -> Tensor:
        return self.chosen - self.ref_chosen

    @property
    def v(self) -> Tensor:
        return self.rejected - self.ref_rejected


class Knobs(Value, frozen=True):
    """What the losses can be told. A loss reads only some of these, and `check` refuses the others."""

    beta: float = 0.3  # how strongly a preference counts against the reference
    smoothing: float = 0.0  # the share of pairs believed to be labelled the wrong way round
    gamma: float = 0.5  # SimPO's target margin
    tau: float = 0.05  # DiscoPOP's blending temperature
    nll: float = 1.0  # CPO's weight of the chosen reply's likelihood
    desirable: float = 1.0  # KTO's weight of chosen replies
    undesirable: float = 1.0  # KTO's weight of rejected ones


def dpo(p: Replies, k: Knobs) -> Tensor:
    """-l(beta (u - v)). DPO, arXiv 2305.18290, equation 7."""
    return -logsigmoid(k.beta * (p.u - p.v))


def dpo_ln(p: Replies, k: Knobs) -> Tensor:
    """-l(beta (u/n - v/n)). Length-normalised DPO, arXiv 2411.15124; the paper's choice for Moshi."""
    return -logsigmoid(k.beta * (p.u / p.chosen_count - p.v / p.rejected_count))


def cdpo(p: Replies, k: Knobs) -> Tensor:
    """-(1 - e) l(beta (u - v)) - e l(-beta (u - v)). Conservative DPO (Mitchell 2023)."""
    x = k.beta * (p.u - p.v)
    return -(1 - k.smoothing) * logsigmoid(x) - k.smoothing * logsigmoid(-x)


def robust(p: Replies, k: Knobs) -> Tensor:
    """[-(1 - e) l(x) + e l(-x)] / (1 - 2e), x = beta (u - v). Robust DPO, arXiv 2403.00409."""
    x = k.beta * (p.u - p.v)
    return (-(1 - k.smoothing) * logsigmoid(x) + k.smoothing * logsigmoid(-x)) / (1 - 2 * k.smoothing)


def hinge(p: Replies, k: Knobs) -> Tensor:
    """max(0, 1 - beta (u - v)). RSO, arXiv 2309.06657."""
    return relu(1 - k.beta * (p.u - p.v))


def ipo(p: Replies, k: Knobs) -> Tensor:
    """(u/n - v/n - 1 / (2 beta))^2. IPO, arXiv 2310.12036, equation 17, per token as its authors ran it."""
    return torch.square(p.u / p.chosen_count - p.v / p.rejected_count - 0.5 / k.beta)


def simpo(p: Replies, k: Knobs) -> Tensor:
    """-l(beta (c/n - r/n) - gamma), without a reference. SimPO, arXiv 2405.14734, equation 6."""
    return -logsigmoid(k.beta * (p.chosen / p.chosen_count - p.rejected / p.rejected_count) - k.gamma)


def orpo(p: Replies, k: Knobs) -> Tensor:
    """-c/n - beta l(log odds of c/n over r/n), without a reference. ORPO, arXiv 2403.07691."""
    chosen, rejected = p.chosen / p.chosen_count, p.rejected / p.rejected_count
    log_odds = (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))
    return -chosen - k.beta * logsigmoid(log_odds)


def cpo(p: Replies, k: Knobs) -> Tensor:
    """-l(beta (c - r)) - nll * c/n, without a reference. CPO, arXiv 2401.08417."""
    return -logsigmoid(k.beta * (p.chosen - p.rejected)) - k.nll * p.chosen / p.chosen_count


def kto(p: Replies, k: Knobs) -> Tensor:
    """Half of d (1 - sigmoid(beta (u - z))) + w (1 - sigmoid(beta (z - v))). KTO, arXiv 2402.01306.

    z is the mean log-ratio of the step's replies, at least 0 and without gradient. The paper takes it on replies to
    other prompts, which would cost one more branch per pair.
    """
    z = torch.cat([p.u, p.v]).mean().clamp(min=0).detach()
    kept = k.desirable * torch.sigmoid(-k.beta * (p.u - z))
    return (kept + k.undesirable * torch.sigmoid(-k.beta * (z - p.v))) / 2


def apo_zero(p: Replies, k: Knobs) -> Tensor:
    """1 - sigmoid(beta u) + sigmoid(beta v): chosen up, rejected down. APO, arXiv 2408.06266, equation 7."""
    return torch.sigmoid(-k.beta * p.u) + torch.sigmoid(k.beta * p.v)


def apo_down(p: Replies, k: Knobs) -> Tensor:
    """sigmoid(beta u) + 1 - sigmoid(beta (u - v)): both down, rejected more. APO, arXiv 2408.06266, equation 8."""
    return torch.sigmoid(k.beta * p.u) + torch.sigmoid(-k.beta * (p.u - p.v))


def nca(p: Replies, k: Knobs) -> Tensor:
    """-l(beta u) - l(-beta u) / 2 - l(-beta v) / 2. NCA for pairs, arXiv 2402.05369."""
    x, y = k.beta * p.u, k.beta * p.v
    return -logsigmoid(x) - 0.5 * logsigmoid(-x) - 0.5 * logsigmoid(-y)


def bco_pair(p: Replies, k: Knobs) -> Tensor:
    """-l(beta u) - l(-beta v). BCO without its shift, arXiv 2404.04656."""
    return -logsigmoid(k.beta * p.u) - logsigmoid(-k.beta * p.v)


def sppo(p: Replies, k: Knobs) -> Tensor:
    """(u - 1 / (2 beta))^2 + (v + 1 / (2 beta))^2. SPPO with hard labels, arXiv 2405.00675, equation 4.7."""
    return torch.square(p.u - 0.5 / k.beta) + torch.square(p.v + 0.5 / k.beta)


def exo(p: Replies, k: Knobs) -> Tensor:
    """KL of sigmoid(x) from the smoothed label, x = beta (u - v). EXO for pairs, arXiv 2402.00856, equation 16."""
    x, e = k.beta * (p.u - p.v), torch.as_tensor(k.smoothing, dtype=p.u.dtype, device=p.u.device)
    wins = torch.sigmoid(x) * (logsigmoid(x) - torch.log1p(-e))
    return wins + torch.sigmoid(-x) * (logsigmoid(-x) - torch.log(e))


def discopop(p: Replies, k: Knobs) -> Tensor:
    """-l(x) (1 - m) + exp(-x) m, x = beta (u - v), m = sigmoid(x / tau). DiscoPOP, arXiv 2406.08414, equation 5."""
    x = k.beta * (p.u - p.v)
    blend = torch.sigmoid(x / k.tau)
    return -logsigmoid(x) * (1 - blend) + torch.exp(-x) * blend


def aot(p: Replies, k: Knobs) -> Tensor:
    """cDPO of the sorted log-ratios c - r against the reference's, sorted too. AOT for pairs, arXiv 2406.05882."""
    x = k.beta * ((p.chosen - p.rejected).sort().values - (p.ref_chosen - p.ref_rejected).sort().values)
    return -(1 - k.smoothing) * logsigmoid(x) - k.smoothing * logsigmoid(-x)


def sdpo(p: Replies, k: Knobs) -> Tensor:
    """(u/n - beta (a - mean a))^2 / 2, a = ref_rejected/m - ref_chosen/n: how much likelier per token the reply is once
    the user's next words are known. The "rejected" side is the same reply after those words (`model.align.hindsight`).

    Self-distillation from hindsight, after "Aligning Language Models from User Interactions", per reply where that
    is per token. The mean is the step's: of a model's own replies the expected gain is below 0 whatever users say, and
    a square would teach that. The first gradient is -beta (a - mean a) times that of c/n.
    """
    gain = p.ref_rejected / p.rejected_count - p.ref_chosen / p.chosen_count
    return (p.u / p.chosen_count - k.beta * (gain - gain.mean())) ** 2 / 2


def sft(p: Replies, k: Knobs) -> Tensor:
    """-c/n: the chosen reply's negative log-likelihood per token, as in RPO, arXiv 2404.19733."""
    return -p.chosen / p.chosen_count


class Loss(NamedTuple):
    of: Callable[[Replies, Knobs], Tensor]
    reads: frozenset[str]  # knobs
    reference: bool = True  # it compares with the reference's log-probabilities
    coupled: bool = False  # one pair's loss depends on the others of its step
    hindsight: bool = False  # of talks in which the user reacts, not of preferences


def _reads(*knobs: str) -> frozenset[str]:
    return frozenset(knobs)


LOSSES: dict[str, Loss] = {
    "dpo": Loss(dpo, _reads("beta")),
    "dpo_ln": Loss(dpo_ln, _reads("beta")),
    "cdpo": Loss(cdpo, _reads("beta", "smoothing")),
    "robust": Loss(robust, _reads("beta", "smoothing")),
    "hinge": Loss(hinge, _reads("beta")),
    "ipo": Loss(ipo, _reads("beta")),
    "simpo": Loss(simpo, _reads("beta", "gamma"), reference=False),
    "orpo": Loss(orpo, _reads("beta"), reference=False),
    "cpo": Loss(cpo, _reads("beta", "nll"), reference=False),
    "kto": Loss(kto, _reads("beta", "desirable", "undesirable"), coupled=True),
    "apo_zero": Loss(apo_zero, _reads("beta")),
    "apo_down": Loss(apo_down, _reads("beta")),
    "nca": Loss(nca, _reads("beta")),
    "bco_pair": Loss(bco_pair, _reads("beta")),
    "sppo": Loss(sppo, _reads("beta")),
    "exo": Loss(exo, _reads("beta", "smoothing")),
    "discopop": Loss(discopop, _reads("beta", "tau")),
    "aot": Loss(aot, _reads("beta", "smoothing"), coupled=True),
    "sft": Loss(sft, _reads(), reference=False),
    "sdpo": Loss(sdpo, _reads("beta"), coupled=True, hindsight=True),
}


def check(name: str, knobs: Knobs) -> Loss:
    """The loss of that name. An unknown name, a knob it does not read or a value it cannot have: InputError."""
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    usual = Knobs()
    unread = [
        field
        for field in Knobs.__struct_fields__
        if field not in LOSSES[name].reads and getattr(knobs, field) != getattr(usual, field)
    ]
    if unread:
        raise InputError(f"the loss {name} does not read {', '.join(unread)}; leave that out")
    top = 0.5 if name == "robust" else 1.0
    rules = {
        "beta must not be negative (0 leaves only the other terms)": knobs.beta >= 0,
        f"{name} divides by beta: give more than 0": knobs.beta > 0 or name not in ("ipo", "sppo"),
        f"smoothing must lie in 0 .. {top}, {top} left out": 0 <= knobs.smoothing < top,
        "exo needs a smoothing above 0; 0.001 is usual": knobs.smoothing > 0 or name != "exo",
        "tau must be above 0": knobs.tau > 0,
        "weights must not be negative": min(knobs.nll, knobs.desirable, knobs.undesirable) >= 0,
    }
    if broken := [rule for rule, holds in rules.items() if not holds]:
        raise InputError(f"loss {name}: {'; '.join(broken)}")
    return LOSSES[name]


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) of x < 0 without losing digits, whichever of the two is close to 1 (Maechler 2012)."""
    near = x > -0.6931471805599453
    # The branch that is not taken must not give a gradient that is not finite.
    small = torch.log(-torch.expm1(torch.where(near, x, -1.0)))
    return torch.where(near, small, torch.log1p(-torch.exp(torch.where(near, -1.0, x))))

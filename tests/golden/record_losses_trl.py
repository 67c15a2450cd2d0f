"""Record what TRL makes of twelve pairs under every preference loss, for tests/test_model_align_losses.py.

It runs in an environment of its own, because TRL is no dependency of ours:

    python -m venv oracle
    oracle/bin/pip install torch==2.13.0 trl==1.16.0
    oracle/bin/python tests/golden/record_losses_trl.py

tests/golden/losses_trl.json then holds the pairs, and for each loss its values in float64 with the gradients of their
mean by the chosen and the rejected replies' summed log-probabilities. TRL offers no loss functions; its trainers'
methods are called with a stand-in for the trainer and a model that answers the log-probabilities wanted. A loss
whose pairs do not depend on each other is recorded pair by pair. With --print the table goes to standard output.

Four things TRL does not give whole: conservative DPO is its DPO of the pair and of the pair swapped; the likelihood
terms of CPO and ORPO, which TRL averages over a batch's tokens, are added here per pair; ORPO's cast to float32 is
lifted, and the default type lifts EXO's float32 constant; KTO's zero is taken on the step's own replies, as ours is.
"""

import json
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import torch
from trl.experimental.cpo.cpo_trainer import CPOTrainer
from trl.experimental.orpo.orpo_trainer import ORPOTrainer
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer

FILE = Path(__file__).parent / "losses_trl.json"
COUNTS = [
    (1, 1),
    (3, 9),
    (9, 3),
    (20, 20),
    (100, 63),
    (63, 100),
    (7, 7),
    (5, 50),
    (50, 5),
    (88, 88),
    (2, 30),
    (125, 88),
]
NAMES = {
    "dpo": "sigmoid", "dpo_ln": "sigmoid_norm", "robust": "robust", "hinge": "hinge", "ipo": "ipo", "nca": "nca_pair",
    "apo_zero": "apo_zero", "apo_down": "apo_down", "bco_pair": "bco_pair", "sppo": "sppo_hard", "exo": "exo_pair",
    "discopop": "discopop", "aot": "aot", "sft": "sft",
}  # fmt: skip
ROWS = [
    *[(name, {"beta": beta}) for beta in (0.1, 0.3, 2.0) for name in NAMES if name not in ("robust", "exo", "sft")],
    *[(name, {"beta": 0.3, "smoothing": e}) for e in (0.01, 0.2) for name in ("cdpo", "robust", "exo", "aot")],
    ("discopop", {"beta": 0.3, "tau": 0.5}), ("sft", {}),
    ("simpo", {"beta": 2.0, "gamma": 0.5}), ("simpo", {"beta": 10.0, "gamma": 3.0}),
    ("cpo", {"beta": 0.1, "nll": 1.0}), ("cpo", {"beta": 0.3, "nll": 0.2}),
    ("orpo", {"beta": 0.1}), ("orpo", {"beta": 1.0}),
    ("kto", {"beta": 0.1}), ("kto", {"beta": 0.3, "desirable": 1.5, "undesirable": 0.5}),
]  # fmt: skip


def stand_in(k, name="sigmoid", **more):
    itself = lambda x: x  # noqa: E731
    accelerator = SimpleNamespace(device="cpu", gather=itself, gather_for_metrics=itself)
    metrics = {"train": defaultdict(list)}
    return SimpleNamespace(
        model=SimpleNamespace(training=True), accelerator=accelerator, aux_loss_enabled=False, use_weighting=False,
        precompute_ref_logps=True, ld_alpha=None, f_divergence_type="reverse_kl", beta=k.get("beta", 0.3),
        label_smoothing=k.get("smoothing", 0.0), loss_types=[name], loss_weights=[1.0], _metrics=metrics, _tp_size=1,
        args=SimpleNamespace(discopop_tau=k.get("tau", 0.05)), _total_train_tokens=0, **more,
    )  # fmt: skip


def rows_of(sums, counts):
    """Log-probs [B, T - 1] that sum to `sums`, a completion mask [B, T] and what a model answers."""
    mask = torch.zeros(len(sums), max(counts) + 1, dtype=torch.long)
    for row, n in enumerate(counts):
        mask[row, 1 : n + 1] = 1
    each = torch.stack([s / n for s, n in zip(sums, counts, strict=True)])
    return spoken(each[:, None] * mask[:, 1:], mask), mask


def spoken(log_probs, mask):
    zeros = torch.zeros_like(log_probs.detach())
    answer = SimpleNamespace(log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros > 0)
    return lambda **_: answer


def inputs_of(mask):
    return {"input_ids": mask, "attention_mask": torch.ones_like(mask), "completion_mask": mask}


def trl_dpo(name, k, p, **more):
    counts = [*p["chosen_count"], *p["rejected_count"]]
    model, mask = rows_of([*p["chosen"], *p["rejected"]], counts)
    ref = {"ref_chosen_logps": p["ref_chosen"], "ref_rejected_logps": p["ref_rejected"]}
    return DPOTrainer._compute_loss(stand_in(k, name, **more), model, inputs_of(mask) | ref, False)


def swapped(p):
    other = {"chosen": "rejected", "rejected": "chosen"}
    return {name: p["_".join(other.get(part, part) for part in name.split("_"))] for name in p}


def trl_kto(k, p):
    counts = [*p["chosen_count"], *p["rejected_count"]]
    policy, ref = torch.cat([p["chosen"], p["rejected"]]), torch.cat([p["ref_chosen"], p["ref_rejected"]])
    model, mask = rows_of([*policy], counts)
    weights = {"desirable_weight": k.get("desirable", 1.0), "undesirable_weight": k.get("undesirable", 1.0)}
    trainer = stand_in(k, loss_type="kto", calculate_KL=True, _compute_kl_logps=lambda *_: policy, **weights)
    label = torch.arange(len(counts)) < len(counts) // 2
    return KTOTrainer._compute_loss(
        trainer, model, inputs_of(mask) | {"label": label, "ref_logps": ref, "ref_KL_logps": ref}, False
    )


def lifted(x):
    x.float = lambda: x
    return x


def loss_of(name, k, p):
    chosen, rejected = p["chosen"] / p["chosen_count"], p["rejected"] / p["rejected_count"]
    if name == "kto":
        return trl_kto(k, p)
    if name == "cdpo":
        return (1 - k["smoothing"]) * trl_dpo("sigmoid", k, p) + k["smoothing"] * trl_dpo("sigmoid", k, swapped(p))
    if name in ("simpo", "cpo"):
        kind = {"simpo": "simpo", "cpo": "sigmoid"}[name]
        trainer = stand_in(k, loss_type=kind, alpha=0.0, simpo_gamma=k.get("gamma", 0.5))
        sides = (chosen, rejected) if name == "simpo" else (p["chosen"], p["rejected"])
        return (CPOTrainer.cpo_loss(trainer, *sides)[0] - (k["nll"] * chosen if name == "cpo" else 0)).mean()
    if name == "orpo":
        odds = ORPOTrainer.odds_ratio_loss(stand_in(k), lifted(chosen), lifted(rejected))[0]
        return (-chosen - odds).mean()
    return trl_dpo(NAMES[name], k, p)


def pairs():
    generator = torch.Generator().manual_seed(7)
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    per_token = -0.02 - 3 * torch.rand(2, len(COUNTS), dtype=torch.float64, generator=generator)
    drift = torch.randn(2, len(COUNTS), dtype=torch.float64, generator=generator) * torch.linspace(0, 6, len(COUNTS))
    ref = per_token * counts.T
    policy = torch.minimum(ref + drift, -0.01 * counts.T)
    return {
        "chosen": policy[0], "rejected": policy[1], "ref_chosen": ref[0], "ref_rejected": ref[1],
        "chosen_count": counts[:, 0], "rejected_count": counts[:, 1],
    }  # fmt: skip


def as_inputs(p, rows):
    part = {name: x[rows].clone() for name, x in p.items()}
    for side in ("chosen", "rejected"):
        part[side].requires_grad_()
        part[f"{side}_count"] = part[f"{side}_count"].long()
    return part


def record(name, k, p):
    """Values and the gradients of their mean; one value for a loss of the whole step."""
    whole = slice(None)
    rows = [whole] if name in ("aot", "kto") else [slice(i, i + 1) for i in range(len(COUNTS))]
    values, gradients = [], ([], [])
    for chosen_rows in rows:
        part = as_inputs(p, chosen_rows)
        loss = loss_of(name, k, part)
        values.append(loss.item())
        found = torch.autograd.grad(loss / len(rows), [part["chosen"], part["rejected"]], allow_unused=True)
        for kept, gradient in zip(gradients, found, strict=True):
            kept += [0.0] * len(part["chosen"]) if gradient is None else gradient.tolist()
    return {"loss": name, "knobs": k, "values": values, "by_chosen": gradients[0], "by_rejected": gradients[1]}


def record_ld():
    """LD-DPO of one pair from its tokens: sums of the shared first tokens and of the rest, and the loss."""
    generator = torch.Generator().manual_seed(8)
    rows = []
    for counts, alpha, name in [
        ((4, 9), 0.5, "dpo"),
        ((9, 4), 0.0, "dpo"),
        ((9, 4), 0.3, "dpo_ln"),
        ((5, 5), 0.5, "dpo"),
    ]:
        shared = min(counts)
        logs = [-torch.rand(n, dtype=torch.float64, generator=generator) * 3 for n in (*counts, *counts)]
        padded = torch.zeros(2, max(counts), dtype=torch.float64)
        mask = torch.zeros(2, max(counts) + 1, dtype=torch.long)
        for row, n in enumerate(counts):
            padded[row, :n], mask[row, 1 : n + 1] = logs[row], 1
        parts = [(x[:shared].sum().item(), x[shared:].sum().item()) for x in logs]
        ref = [torch.tensor([head + alpha * tail], dtype=torch.float64) for head, tail in parts[2:]]
        trainer = stand_in({"beta": 0.3}, NAMES[name])
        trainer.ld_alpha = alpha
        given = inputs_of(mask) | {"ref_chosen_logps": ref[0], "ref_rejected_logps": ref[1]}
        value = DPOTrainer._compute_loss(trainer, spoken(padded, mask), given, False).item()
        rows.append({"loss": name, "alpha": alpha, "counts": counts, "parts": parts, "value": value})
    return rows


def main():
    torch.set_default_dtype(torch.float64)
    p = pairs()
    versions = {name: version(name) for name in ("trl", "torch", "transformers")}
    table = {
        "versions": versions,
        "pairs": {name: x.tolist() for name, x in p.items()},
        "rows": [record(name, k, p) for name, k in ROWS],
        "ld": record_ld(),
    }
    if "--print" in sys.argv:
        print(json.dumps(table))
        return
    FILE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"{FILE}: {len(table['rows'])} rows, {versions}")


if __name__ == "__main__":
    main()

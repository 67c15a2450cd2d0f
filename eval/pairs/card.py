"""The dataset's card: what it holds, how it was made, how to read it without our code. Hugging Face reads its head."""

from collections.abc import Sequence
from pathlib import Path

from eval.pairs.dataset import Dataset
from eval.pairs.rows import PARTS
from eval.pairs.stats import Stats, as_text, bars
from protocols.store import write_whole

READ = """```python
import numpy as np, pandas as pd

pairs, talks = (pd.read_parquet(f"{table}/train-00000.parquet") for table in ("pairs", "talks"))
pair = pairs.iloc[0]
talk = talks.set_index("talk").loc[pair.talk]
tokens = lambda data: np.frombuffer(data, "<i2").reshape(int(talk.streams), -1)  # [streams, frames], -1: unknown
context = tokens(talk.tokens)[:, : int(pair.context_frames)]
chosen, rejected = tokens(pair.chosen_tokens), tokens(pair.rejected_tokens)
```"""

ABOUT = """One row of `pairs` is one preference: a talk up to the column where two continuations part, and both of them.
`talks` holds each talk's past once, so pairs of one talk share it: the context of a pair is the first `context_frames`
columns of its talk's `tokens`, which begin at column `window_start_frame` of the talk. Rejected is what the model did,
in the tokens it emitted. Pairs with `rank` 0 are the first of their talk: their contexts are unique. Times are seconds
of the talk. `chosen_sound` and `rejected_sound` say what the agent's channel plays from `diverges_at` on: stretches of
recordings (left channel of the talk's file, or a file of `sounds/`); from `user_silent_from` on the user is silent in
the chosen continuation. `exclusions` says what gave no pair, and why."""


def write_card(dataset: Dataset, stats: Stats, agreement: Sequence[str] = ()) -> Path:
    """README.md of a dataset folder. `agreement`: sentences on how far people and the judges agree."""
    path = dataset.path / "README.md"
    write_whole(path, card(dataset, stats, agreement).encode())
    return path


def card(dataset: Dataset, stats: Stats, agreement: Sequence[str] = ()) -> str:
    """The card's text."""
    info = dataset.info
    plan = info.plan
    table = "\n".join(f"| {t} | {n} | {share} |" for t, n, share in as_text(stats))
    excluded = "\n".join(f"| {reason.replace('_', ' ')} | {n:,} |" for reason, n in info.excluded.items())
    histograms = "\n\n".join(f"{h.name}\n\n```\n" + "\n".join(bars(h)) + "\n```" for h in stats.histograms)
    made = "\n".join(f"- {role}: `{source}`" for role, source in plan.parts.items() if source)
    settings = "\n".join(f"- {name}: {value}" for name, value in plan.settings.items())
    agreed = "\n## People and the judges\n\n" + "".join(f"- {line}\n" for line in agreement) if agreement else ""
    grid = "\n## The token grid\n\n" + "".join(f"- {k}: {v}\n" for k, v in plan.grid.items()) if plan.grid else ""
    splits = ", ".join(f"{part} {stats.by_split.get(part, 0):,}" for part in PARTS)
    return f"""{_head(dataset)}
# Preference pairs of full-duplex talks

{stats.pairs:,} pairs ({splits}) from {info.talks:,} talks; {stats.unique:,} with unique contexts.
Schema {info.schema}, content hash `{info.digest}`.

| type | pairs | share |
|---|---:|---:|
{table}

Timing faults: {_counted(stats.faults)}. Axes: {_counted(stats.axes)}.

{ABOUT}

{READ}

## How it was made

- sources: {", ".join(f"`{s}`" for s in plan.sources)}
{made}
{settings}
{agreed}{grid}
## What was left out

| reason | talks or replies |
|---|---:|
{excluded}

## Lengths

{histograms}
"""


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items()) or "none"


def _head(dataset: Dataset) -> str:
    lines = ["---", "configs:"]
    for i, table in enumerate(("pairs", "talks")):
        parts = [part for part in PARTS if dataset.files(table, part)]
        if parts:
            lines += [f"- config_name: {table}", *(["  default: true"] if i == 0 else []), "  data_files:"]
            for part in parts:
                lines += [f"  - split: {part}", f"    path: {table}/{part}-*.parquet"]
    if dataset.files("exclusions"):
        lines += ["- config_name: exclusions", "  data_files: exclusions/*.parquet"]
    return "\n".join([*lines, "---"])

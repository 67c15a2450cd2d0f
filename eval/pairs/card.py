"""The dataset's card: what it holds, how it was made, how to read it without our code. Hugging Face reads its head."""

from collections.abc import Sequence
from pathlib import Path

from eval.pairs.dataset import Dataset
from eval.pairs.rows import PARTS
from eval.pairs.stats import Stats, as_text, bars
from eval.pairs.tables import read_columns
from protocols.store import write_whole

SPLIT = ("pairs", "talks")
ALL = (*SPLIT, "exclusions", "marked")  # of a dataset, as far as they have rows

TABLES = """import pandas as pd

pairs, talks = (pd.read_parquet(f"{{table}}/{file}") for table in ("pairs", "talks"))"""

TOKENS = """
import numpy as np

pair = pairs[pairs.chosen_tokens.notna()].iloc[0]
talk = talks.set_index("talk").loc[pair.talk]
tokens = lambda data: np.frombuffer(data, "<i2").reshape(int(talk.streams), -1)  # [streams, frames], -1: unknown
context = tokens(talk.tokens)[:, : int(pair.context_frames)]
chosen, rejected = tokens(pair.chosen_tokens), tokens(pair.rejected_tokens)"""

STREAMED = """import os

from datasets import load_dataset

pairs = load_dataset(os.getcwd(), "pairs", split="{split}", streaming=True)  # also {others}
pair = next(iter(pairs))"""

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

{_reading(dataset)}
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


def _reading(dataset: Dataset) -> str:
    """How to read it in its own folder, with files that are there; nothing for a dataset without pairs."""
    files = dataset.files("pairs")
    if not files:
        return ""
    with_tokens = (
        f for f in files if any(r["context_frames"] is not None for r in read_columns(f, ("context_frames",)))
    )
    first = next(with_tokens, None)
    code = TABLES.format(file=(first or files[0]).name) + (TOKENS if first else "")
    others = " and ".join(table for table in ALL if table != "pairs" and dataset.files(table))
    streamed = STREAMED.format(split=files[0].name.partition("-")[0], others=others)
    return f"""In its folder, with pandas or with datasets (row by row; without `streaming`, as a table):

```python
{code}
```

```python
{streamed}
```
"""


def _head(dataset: Dataset) -> str:
    lines = ["---", "configs:"]
    for table in (t for t in ALL if dataset.files(t)):
        lines += [f"- config_name: {table}", *(["  default: true"] if table == "pairs" else [])]
        if table in SPLIT:
            lines += ["  data_files:"]
            for part in (part for part in PARTS if dataset.files(table, part)):
                lines += [f"  - split: {part}", f"    path: {table}/{part}-*.parquet"]
        else:
            lines += [f"  data_files: {table}/*.parquet"]
    return "\n".join([*lines, "---"])

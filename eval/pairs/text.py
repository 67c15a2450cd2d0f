"""Pairs for text trainers: the context as messages, the two replies as texts, one JSON object a line.

The layout is the conversational one of preference trainers (prompt, chosen, rejected as lists of messages). Timing has
no words: pairs whose replies say the same are left out, and counted.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from eval.pairs.dataset import Dataset
from eval.pairs.rows import PairRow, Part, TalkRow
from protocols.store import write_whole

ROLES = {"agent": "assistant", "user": "user"}


class Exported(NamedTuple):
    written: int
    same_text: int  # pairs about timing alone, left out


def export_text(dataset: Dataset, out: Path, part: Part | None = None) -> Exported:
    """Write a JSONL file, whole or not at all."""
    lines, same = [], 0
    for talk, pair in dataset.with_talks(part):
        line = as_text(talk, pair)
        same += line is None
        lines += [json.dumps(line, ensure_ascii=False)] if line is not None else []
    write_whole(out, "".join(f"{line}\n" for line in lines).encode())
    return Exported(len(lines), same)


def as_text(talk: TalkRow, pair: PairRow) -> dict[str, object] | None:
    """A pair without its sound; None if both sides say the same, or nothing was said before."""
    chosen, rejected = (" ".join(w.text for w in words) for words in (pair.chosen_words, pair.rejected_words))
    prompt = list(_messages(talk, pair))
    if chosen == rejected or not prompt:
        return None
    reply = {"chosen": chosen, "rejected": rejected}
    return {"id": pair.id, "prompt": prompt, **{k: [{"role": "assistant", "content": v}] for k, v in reply.items()}}


def _messages(talk: TalkRow, pair: PairRow) -> Iterator[dict[str, str]]:
    """The transcript up to the diverging moment; lines of one side in a row are one message."""
    lines = [x for x in talk.lines if x.start < pair.diverges_at or (x.channel == "user" and _before(x.start, pair))]
    at = 0
    while at < len(lines):
        end = at
        while end < len(lines) and lines[end].channel == lines[at].channel:
            end += 1
        yield {"role": ROLES[lines[at].channel], "content": " ".join(x.text for x in lines[at:end])}
        at = end


def _before(start: float, pair: PairRow) -> bool:
    return pair.user_end is not None and start < pair.user_end

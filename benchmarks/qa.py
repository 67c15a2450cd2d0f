"""The answer scorers: agreement with the labelled answers of the tests, what an echo would get, and speed."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import yaml

from eval.metrics.qa import CANNED
from eval.metrics.qa_legacy import has_substring, has_tokens
from eval.metrics.qa_match import find_alias

LABELLED = Path(__file__).parent.parent / "tests" / "golden" / "qa_answers.yaml"
Find = Callable[[str, Sequence[str], str], str | None]
WAYS: dict[str, Find] = {
    "alias (headline)": find_alias,
    "legacy tokens": lambda answer, aliases, question: has_tokens(answer, aliases),
    "legacy substring": lambda answer, aliases, question: has_substring(answer, aliases),
}
COLUMNS = ["scorer", "answers", "precision", "recall", "canned", "echo", "10,000 answers"]


def table() -> list[list[str]]:
    """A row per scorer and part of the labelled set, and one for all of it with floors and speed."""
    parts = yaml.safe_load(LABELLED.read_text(encoding="utf-8"))
    rows = []
    for name, find in WAYS.items():
        for part, groups in parts.items():
            rows.append([f"{name}, {part}", *_agreement(find, groups), "", "", ""])
        every = [group for groups in parts.values() for group in groups]
        floors = [_passed(find, every, lambda g: CANNED), _passed(find, every, lambda g: g["question"])]
        rows.append([f"{name}, all", *_agreement(find, every), *floors, f"{speed(find):.1f} s"])
    return rows


def _agreement(find: Find, groups: Sequence[dict]) -> list[str]:
    counts = np.zeros((2, 2), int)  # [right by meaning, found]
    for g in groups:
        for label in ("right", "wrong"):
            for answer in g[label]:
                found = find(answer, g["accepted"], g["question"]) is not None
                counts[int(label == "right"), int(found)] += 1
    return [str(counts.sum()), f"{counts[1, 1] / counts[:, 1].sum():.3f}", f"{counts[1, 1] / counts[1].sum():.3f}"]


def _passed(find: Find, groups: Sequence[dict], answer: Callable[[dict], str]) -> str:
    return f"{np.mean([find(answer(g), g['accepted'], g['question']) is not None for g in groups]):.1%}"


def speed(find: Find, n: int = 10_000, aliases: int = 14) -> float:
    """Processor seconds for n answers, all different, against as many aliases as TriviaQA has on average."""
    questions = [(f"Who was number {i} in the list?", [f"Person {i}", *(f"Alias {i} {k}" for k in range(aliases - 1))])
                 for i in range(n // 10)]  # fmt: skip
    started = time.process_time()
    for i in range(n):
        question, accepted = questions[i % len(questions)]
        find(
            f"Well, that is hard, but I think that number {i} is person {i % 1000}, not another. Do you want more?",
            accepted, question,
        )  # fmt: skip
    return time.process_time() - started


if __name__ == "__main__":
    for row in [COLUMNS, *table()]:
        print("  ".join(f"{cell:<{w}}" for cell, w in zip(row, (24, 8, 10, 8, 8, 8, 16), strict=True)))

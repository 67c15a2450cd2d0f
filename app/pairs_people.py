"""What people said of talks, as a build takes it: lines of marks, and the ratings of a study's export.

An export knows the levels of its own questions, so an answer of 2 on a scale from 1 to 5 is not taken for one from 0
to 4. A file of ratings alone is read as answers from 0 to 4.
"""

import json
from pathlib import Path
from typing import NamedTuple

from eval.pairs.marks import marks_of_ratings
from eval.pairs.settings import PairSettings
from eval.pairs.talks import Mark
from protocols.base import from_json
from protocols.errors import InputError, StoreError
from protocols.records import Rating


class People(NamedTuple):
    """Marks by talk, and who held a talk, as far as ratings say it."""

    marks: dict[str, tuple[Mark, ...]]
    raters: dict[str, str]


def read_people(ratings: Path | None, settings: PairSettings) -> People:
    """`ratings`: an export's folder, or a file of ratings; None: nothing."""
    if ratings is None:
        return People({}, {})
    file = ratings / "ratings.jsonl" if ratings.is_dir() else ratings
    try:
        rows = [from_json(line, Rating) for line in file.read_bytes().splitlines()]
    except OSError as error:
        raise StoreError(f"cannot read {file}: {error.strerror}") from error
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    levels = _levels(ratings / "study.json") if ratings.is_dir() else None
    return People(marks_of_ratings(rows, settings, levels), {talk: r.rater for r in rows for talk in r.talks})


def _levels(path: Path) -> dict[str, tuple[int, int]]:
    """Lowest and highest answer of each of a study's questions."""
    try:
        from app.study.config import Study
    except ImportError as error:
        raise InputError(f"{error.name} is missing; get it with: pip install -e '.[live]'") from error
    try:
        study = Study.model_validate(json.loads(path.read_bytes())["study"], strict=False)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a study as it is exported: {error}") from error
    return {q.id: (min(q.levels), max(q.levels)) for q in study.all_questions}

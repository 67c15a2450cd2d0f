"""A small study and its database, for tests."""

from pathlib import Path
from typing import Any

from app.study.begin import begin
from app.study.config import Study
from app.study.database import Database, open_database, sqlite_url
from app.study.reading import study_from

SMALL: dict[str, Any] = {
    "name": "small",
    "title": "Talking with a computer",
    "arms": {"base": {"system": "echo"}, "aligned": {"system": "silence"}},
    "scenarios": [
        {"id": "weekend", "text": "Plan a weekend."},
        {"id": "dinner", "text": "Plan a dinner."},
        {"id": "pills", "text": "You took two pills.", "unsafe": True},
    ],
    "durations": [5],
    "rounds": 1,
    "least": 0.1,
    "consent": "Your voice is recorded.",
    "comprehension": [{"question": "What do you rate?", "options": ["Myself", "The other side"], "right": 2}],
    "practice": None,
    "blinding": {"arm": "aligned"},
}


def study(**changes: Any) -> Study:
    return study_from({**SMALL, **changes}, "small.yaml")


def database(folder: Path, of: Study) -> Database:
    db = open_database(sqlite_url(folder))
    with db.write() as session:
        begin(session, of)
    return db

"""A study enters its database once, and stays what it was: the same name with another file is refused.

Only the status may change, and the researcher's password. Arms get their codes here.
"""

import json
import secrets
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.study.config import Study
from app.study.raters import now
from app.study.tables import ArmRow, RaterRow, StudyRow
from protocols.errors import InputError

Status = Literal["open", "paused", "closed"]


def begin(session: Session, study: Study) -> StudyRow:
    """The study's row: new, or the one that is there. InputError if raters have met another form of it; the second
    stage is met by its own raters alone."""
    row = session.scalar(select(StudyRow).where(StudyRow.name == study.name))
    config = study.model_dump(mode="json")
    if row is None:
        row = StudyRow(name=study.name, digest=study.digest, preregistered=study.preregistered, config=config,
                       status="open", created_at=now())  # fmt: skip
        session.add(row)
        session.flush()
    elif row.digest != study.digest:
        before = study_of(row).model_dump(mode="json")  # with today's defaults
        changed = sorted(key for key in config if config[key] != before[key])
        met = select(RaterRow.id).where(RaterRow.study_id == row.id, RaterRow.source != "preview")
        met = met.where(RaterRow.role == "second") if changed == ["second_stage"] else met
        if changed and session.scalar(met.limit(1)) is not None:
            raise InputError(
                f"{study.name} has raters, and {', '.join(changed)} changed since; give the new study another name"
            )
        row.digest, row.preregistered, row.config = study.digest, study.preregistered, config
    _arms(session, row, study)
    return row


def _arms(session: Session, row: StudyRow, study: Study) -> None:
    known: dict[str, ArmRow] = {
        arm.name: arm for arm in session.scalars(select(ArmRow).where(ArmRow.study_id == row.id))
    }
    for name, arm in study.arms.items():
        if name not in known:
            session.add(ArmRow(code=secrets.token_hex(6), study_id=row.id, name=name, system=arm.system))
        else:
            known[name].system = arm.system
    session.flush()


def met_version(session: Session, row: StudyRow, name: str, version: str) -> None:
    """Note which version of a system stands behind an arm. InputError if raters have talked with another."""
    arm = session.scalars(select(ArmRow).where(ArmRow.study_id == row.id, ArmRow.name == name)).one()
    if arm.version not in (None, version):
        raise InputError(
            f"arm {name} was {arm.system} {arm.version} and is now {version}; its talks are not comparable"
        )
    arm.version = version


def set_status(session: Session, row: StudyRow, status: Status) -> None:
    row.status = status


def study_of(row: StudyRow) -> Study:
    """The study as it began."""
    return Study.model_validate_json(json.dumps(row.config))


def stored(session: Session, name: str) -> Study:
    """The only study of a database, or the one of a name where there are several."""
    rows = session.scalars(select(StudyRow).order_by(StudyRow.id)).all()
    found = [row for row in rows if len(rows) == 1 or row.name == name]
    if not found:
        raise InputError(f"the database holds no study {name!r}, but {', '.join(row.name for row in rows) or 'none'}")
    return study_of(found[0])

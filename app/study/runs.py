"""A study's talks as run folders, one per arm: what `duologue score`, `compare`, `pairs` and `show` read as it is.

    ARM/           a run: samples, conversations as heard, what our instruments heard, scores, ratings of single talks
    ARM/marks.jsonl  `duologue pairs build ARM --marks ARM/marks.jsonl`

A sample is named SCENARIO/RATER, so that `compare` matches the talks a rater held with both arms under one scenario;
raters are clusters. The user's turns are read off who speaks when, and carry that error. Only talks that count are in
it; what raters prefer between two talks is about no single run and stays in the export (`compare --study`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from app.live.folder import read_talk
from app.rescore import rescore
from app.study.answers import GUESS, INSTRUCTION
from app.study.config import Study
from app.study.people import Judged
from app.study.researcher.browse import agent_words
from app.study.researcher.marked import marks_of
from app.study.second.replay import sound_of
from app.study.second.words import is_written, read_words
from app.study.tables import RatingRow, TalkRow
from eval.activity import SileroActivity
from eval.listen import hear
from eval.metrics import metric
from eval.pairs.events import events_of
from eval.pairs.settings import PairSettings
from protocols.audio import read_sound, resample
from protocols.contracts import ActivityDetector
from protocols.duplex import SAMPLE_RATE
from protocols.records import Conversation, Key, Rating, Sample
from protocols.runs import Protocol, RunInfo
from protocols.store import Run, Writing

TASK = "live"
METRICS = (
    "timing.latency", "timing.answered", "timing.cut_in", "timing.yielded", "timing.kept_floor", "timing.cost",
    "timing.overlap",
)  # fmt: skip


def write_runs(
    study: Study, people: Sequence[Judged], second: Sequence[Judged], arms: Mapping[str, str], talks: Path, out: Path
) -> list[Path]:
    """A run for each arm that somebody talked with, in the folder `out`. `arms`: codes -> names."""
    ratings: dict[str, list[RatingRow]] = {}
    for one in (*people, *second):
        for rating in one.person.ratings:
            if one.uses(rating.talk_id) and rating.other_id is None and rating.question not in (INSTRUCTION, GUESS):
                ratings.setdefault(rating.talk_id, []).append(rating)
    made = []
    for name in study.arms:
        held = [talk for one in people for talk in one.person.talks
                if talk.kind == "talk" and one.uses(talk.id) and arms[talk.arm or ""] == name]  # fmt: skip
        if held:
            made.append(_write_run(study, name, held, ratings, talks, out / name))
    return made


def _write_run(
    study: Study, arm: str, held: Sequence[TalkRow], ratings: Mapping[str, Sequence[RatingRow]], talks: Path, out: Path
) -> Path:
    detector, version = SileroActivity(), read_talk(talks / held[0].id).system_version
    protocol = Protocol(
        f"study {study.name}, as heard", study.digest, 1, study.seed, 0.0, 0.0, "none", "real-time",
        decoding={**study.decoding_of(arm)}, listeners=(detector.source,),
    )  # fmt: skip
    run = Run.create(out, RunInfo(
        study.arms[arm].system, version, protocol, "running", datetime.now(UTC).isoformat(timespec="seconds"),
        len(held), tuple(metric(name).info for name in METRICS), {TASK: METRICS},
    ))  # fmt: skip
    marks = []
    with run.writing() as writing:
        for talk in held:
            sample = f"{talk.scenario}/{talk.rater_id}"
            _append(writing, talk, sample, talks / talk.id, detector)
            writing.append(*(_rating(study, one, f"{sample}.0") for one in ratings.get(talk.id, ())))
            marks += marks_of(talk, f"{out.name}/{sample}.0")
        writing.update(msgspec.structs.replace(run.info, status="done"))
    (out / "marks.jsonl").write_bytes(b"".join(msgspec.json.encode(mark) + b"\n" for mark in marks))
    return rescore(run).path


def _append(writing: Writing, talk: TalkRow, name: str, folder: Path, detector: ActivityDetector) -> None:
    """A talk's sound and rows."""
    record = read_talk(folder)
    sound = read_sound(sound_of(folder))
    audio = np.stack([resample(channel, sound.sample_rate, SAMPLE_RATE) for channel in sound.samples])
    stored = writing.write_audio(Key(name, 0), audio)
    own = agent_words(folder, record)
    held = Conversation(
        name, 0, record.system, record.seed, stored, pacing=record.pacing, lag=record.lag_p50,
        transcripts=() if own is None else (own,),
    )  # fmt: skip
    heard = hear(held, audio, SAMPLE_RATE, detector, None)
    if is_written(folder):
        heard = msgspec.structs.replace(heard, transcripts=read_words(folder).transcripts)
    said = next((one.words for one in heard.transcripts if one.channel == "user"), ())
    agent, user = (one.spans for one in heard.activity)
    events = events_of(agent, user, said, detector.source, PairSettings())
    text = " ".join(word.text for word in said)
    tags = (talk.scenario or "", f"{talk.duration:g} s")
    writing.append(Sample(name, TASK, (), stored.duration, events, text, cluster=talk.rater_id, tags=tags))
    writing.append(msgspec.structs.replace(held, events=events))
    writing.append(heard)


def _rating(study: Study, row: RatingRow, talk: str) -> Rating:
    return Rating(row.id, row.rater_id, study.name, (talk,), row.question, row.answer, row.reason, row.at)

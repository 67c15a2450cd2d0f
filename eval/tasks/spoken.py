"""Makes a set of spoken questions: `python -m eval.tasks.spoken FOLDER --kokoro-voices DIR`.

Owns the recipe (voices, level, margins, tables) that turns a folder's texts.yaml into sound beside it. The one
non-obvious decision: the place of the speech in a file is not estimated afterwards but made: every file is cut at the
first and last 5 ms frame within 40 dB of its loudest one and gets a margin of exactly 40 ms, so latency can be
counted from known edges. On one machine the command gives the same bytes every time.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
import numpy as np

from eval.speak import KokoroSpeaker, sound_edges
from protocols.config import read_yaml
from protocols.contracts import Speaker
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.encoding import flac_of
from protocols.errors import DuologueError, InputError

USER_VOICES = ("af_heart", "am_fenrir", "bf_emma", "am_puck", "af_bella", "bm_george")
AGENT_VOICE = "am_michael"
LEVEL = 0.06  # RMS of the speech
FLOOR_DB = -40.0  # below the loudest frame nothing at a file's edge counts as speech
MARGIN = 960  # samples, 40 ms
SEED = 20_240
QUESTION_COLUMNS = ("Id", "Questions", "Answer", "Wav Filename", "Speech start", "Speech end", "Voice")
REPLY_COLUMNS = ("Reply", "Reply Filename", "Reply start", "Reply end")


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question, the answers that count (the canonical one first) and what a scripted agent says to it."""

    id: str
    question: str
    answers: tuple[str, ...]
    reply: str | None = None


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is spoken; `unknown` answers a question that is not in the set."""

    items: tuple[Item, ...]
    unknown: str | None = None


def read_texts(folder: Path) -> Texts:
    """The folder's texts; InputError where an id is doubled or a reply lacks its answer."""
    path = folder / "texts.yaml"
    texts = read_yaml(path, Texts)
    if len({item.id for item in texts.items}) < len(texts.items):
        raise InputError(f"{path} uses an id twice")
    for item in texts.items:
        if not item.answers:
            raise InputError(f"{path}: {item.id} has no answer")
        if item.reply is not None and item.answers[0].lower() not in item.reply.lower():
            raise InputError(f"{path}: the reply of {item.id} does not contain its first answer")
    return texts


def deal_voices(n: int, seed: int = SEED) -> list[str]:
    """A user voice for each of n questions; every voice gets an equal share, in a shuffled order."""
    dealt = [""] * n
    for turn, place in enumerate(np.random.default_rng(seed).permutation(n)):
        dealt[place] = USER_VOICES[turn % len(USER_VOICES)]
    return dealt


def speak(speaker: Speaker, text: str, voice: str | None, speed: float = 1.0) -> Audio:
    """`text` at the house's level, [n]; real decay fills the two margins, and zeros where there is none."""
    audio = np.pad(speaker.say(text, voice, speed), MARGIN)
    start, end = sound_edges(audio, FLOOR_DB)
    level = np.sqrt(np.square(audio[start:end], dtype=np.float64).mean())
    return np.asarray(audio[start - MARGIN : end + MARGIN] * (LEVEL / level), dtype=np.float32)


def write(path: Path, audio: Audio) -> tuple[str, str, str]:
    """Write 16-bit FLAC; its name, and the start and end of the speech in seconds, as the tables hold them."""
    path.write_bytes(flac_of(audio))
    return path.name, f"{MARGIN / SAMPLE_RATE:.3f}", f"{(len(audio) - MARGIN) / SAMPLE_RATE:.3f}"


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([columns, *rows])


def make(out: Path, speaker: Speaker, limit: int | None = None) -> int:
    """Speak every item of out/texts.yaml (the first `limit`); the number of sound files written."""
    texts = read_texts(out)

    def reply(name: str, text: str) -> tuple[str, ...]:
        return (text, *write(out / f"{name}.reply.flac", speak(speaker, text, AGENT_VOICE)))

    rows: list[tuple[str, ...]] = []
    dealt = list(zip(texts.items, deal_voices(len(texts.items)), strict=True))[:limit]
    with click.progressbar(dealt, label="Speaking", file=sys.stderr) as progress:
        for item, voice in progress:
            question = write(out / f"{item.id}.flac", speak(speaker, item.question, voice))
            answers = " | ".join(item.answers)
            replied = ("", "", "", "") if item.reply is None else reply(item.id, item.reply)
            rows.append((item.id, item.question, answers, *question, voice, *replied))
    write_table(out / "questions.tsv", QUESTION_COLUMNS + REPLY_COLUMNS, rows)
    if texts.unknown is not None:
        write_table(out / "replies.tsv", ("Id", *REPLY_COLUMNS), [("unknown", *reply("unknown", texts.unknown))])
    return len(list(out.glob("*.flac")))


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--kokoro-voices", required=True, type=click.Path(path_type=Path), help="Folder of kokoro-js voices.")
@click.option("--limit", type=click.IntRange(min=1), help="Speak only the first so many questions.")
def main(out: Path, kokoro_voices: Path, limit: int | None) -> None:
    """Speak the questions and replies of OUT/texts.yaml."""
    try:
        n_files = make(out, KokoroSpeaker(kokoro_voices), limit)
    except DuologueError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(f"{n_files} sound files and their tables lie in {out}")


if __name__ == "__main__":
    main()

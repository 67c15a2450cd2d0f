"""`duologue pairs`: raw talks to preference pairs. Like `cli`, the commands only read options and print."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.options import as_json, judge_options
from protocols.errors import InputError

if TYPE_CHECKING:
    from app.show import Terminal
    from eval.pairs.dataset import Dataset

DATASET = click.Path(path_type=Path, exists=True, file_okay=False)


@click.group()
def pairs() -> None:
    """Turn raw talks into preference pairs over content and timing."""


@pairs.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the dataset.")
@click.option("--judge", type=click.Choice(["none", "world", "synthetic", "llm"]), default="none", show_default=True,
              help="Who flags content and writes better replies: nobody, the truth of the closed world or of synthetic "
              "talks, or a language model (--judge-url ...). Timing is always judged by program.")  # fmt: skip
@click.option("--axis", "axes", multiple=True, help="What a judge is asked about; can be given again. "
              "[default: its content axes]")  # fmt: skip
@click.option("--voice", default="none", show_default=True, help="Who says written replies: clips:FILE of train-base, "
              "recorded:TABLE.tsv (Reply, Reply Filename), or speaker:NAME for talks without tokens.")  # fmt: skip
@click.option("--marks", type=click.Path(path_type=Path, exists=True), help="People's marks, JSON lines with talk, at, "
              "axis, rater.")  # fmt: skip
@click.option("--ratings", type=click.Path(path_type=Path, exists=True), help="People's ratings: the folder of `study "
              "export`, or a run's ratings.jsonl.")  # fmt: skip
@click.option("--asr", default="none", show_default=True, help="Who writes down recordings without words: auto, "
              "whisper:NAME_OR_FOLDER, pocketsphinx or none.")  # fmt: skip
@click.option("--layout", default="auto", show_default=True, help="Of the talks' token grids: tiny, moshi:PATH "
              "or auto, by the names of the systems.")  # fmt: skip
@click.option("--user-voice", default="kept", show_default=True, help="Say what users say anew with this speaker, at "
              "the times of their words, and keep no sound of theirs: espeak, kokoro:DIR, piper:FILE ...")  # fmt: skip
@click.option("--per-talk", type=click.IntRange(1), default=2, show_default=True, help="Flagged replies per talk.")
@click.option("--late-after", type=click.FloatRange(0), default=1.5, show_default=True, help="Seconds after a turn.")
@click.option("--silent-after", type=click.FloatRange(0), default=2.0, show_default=True, help="Seconds waited.")
@click.option("--window", type=click.FloatRange(1), help="Longest context and reply, in seconds. [default: all]")
@click.option("--validation", type=click.FloatRange(0, 1), default=0.05, show_default=True, help="Share of the talks.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the validation part.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and what a language model would cost.")
@judge_options
@as_json
def build(sources: tuple[str, ...], out: Path, as_json: bool, **options: Any) -> None:
    """Make a dataset from SOURCES: run folders, folders of live talks or recordings, or synthetic:COUNT.

    Given again after a stop, the same command goes on where it was.
    """
    from app.judging import cost_text, options_of
    from app.pairs import BuildOptions, build_pairs, spent
    from app.pairs_parts import Judging
    from app.pairs_price import foresee
    from eval.pairs.settings import PairSettings

    settings = PairSettings(
        late_after=options["late_after"],
        silent_after=options["silent_after"],
        window=options["window"],
        per_talk=options["per_talk"],
        validation_share=options["validation"],
        seed=options["seed"],
    )
    llm = options_of({name: value for name, value in options.items() if name.startswith("judge_")})
    judging = Judging(options["judge"], options["voice"], options["axes"], llm)
    named = {name: options[name] for name in ("marks", "ratings", "asr", "layout", "user_voice", "workers")}
    chosen = BuildOptions(sources, out, judging, settings=settings, **named)
    terminal = _terminal(as_json)
    plan = foresee(chosen, terminal)
    terminal.say("\n".join(plan.lines()))
    if options["dry_run"]:
        terminal.result(plan.data())
        return
    made = build_pairs(chosen, plan.talks, terminal)
    for s in spent(chosen):
        terminal.note(f"{s.judge}: {s.replies:,} replies, {s.tokens_in:,} tokens in, {s.tokens_out:,} out, "
                      + cost_text(s.cost))  # fmt: skip
    if made.info.excluded.get("no_reply_known") and options["voice"] == "none":
        terminal.note("replies nobody says cannot be chosen: give them a --voice")
    _show(made, terminal)


@pairs.command(name="from-preferences")
@click.argument("choices", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the dataset.")
@click.option("--validation", type=click.FloatRange(0, 1), default=0.05, show_default=True, help="Share of the talks.")
@as_json
def from_preferences(choices: Path, sources: tuple[str, ...], out: Path, validation: float, as_json: bool) -> None:
    """Make a dataset from people's CHOICES between two talks of SOURCES that share their past.

    CHOICES are JSON lines with a, b, preferred (a, b or tie), rater and, for talks without tokens, at; or the
    ratings.jsonl of a study's export, of which the preferences are taken.
    """
    from app.pairs import BuildOptions, build_preferences
    from eval.pairs.settings import PairSettings

    options = BuildOptions(sources, out, settings=PairSettings(validation_share=validation))
    _show(build_preferences(choices, options), _terminal(as_json))


@pairs.command(name="from-takes")
@click.argument("runs", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the dataset.")
@click.option("--judge", type=click.Choice(["none", "world"]), default="none", show_default=True,
              help="Who flags content. Timing is always judged by program.")  # fmt: skip
@click.option("--most", type=click.IntRange(1), default=2, show_default=True, help="Pairs per sample.")
@click.option("--validation", type=click.FloatRange(0, 1), default=0.05, show_default=True, help="Share of the talks.")
@as_json
def from_takes(runs: tuple[str, ...], out: Path, judge: str, most: int, validation: float, as_json: bool) -> None:
    """Make a dataset of RUNS with several takes a sample (`bench --repeats 4`): each before one with more faults.

    Both sides are what the system itself did, so nothing is written or spoken anew.
    """
    from app.pairs import BuildOptions, build_takes
    from app.pairs_parts import Judging
    from eval.pairs.settings import PairSettings

    terminal = _terminal(as_json)
    options = BuildOptions(runs, out, Judging(judge), settings=PairSettings(validation_share=validation))
    _show(build_takes(options, most, terminal), terminal)


@pairs.command()
@click.argument("dataset", type=DATASET)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the mix.")
@click.option("--take", multiple=True, metavar="TYPE=COUNT", help="Train pairs of a type: content, cuts_user, silent, "
              "mixed, or with_content for content and mixed together.")  # fmt: skip
@click.option("--paper", type=click.IntRange(1), metavar="TOTAL", help="The paper's final mix of so many pairs.")
@click.option("--unique", is_flag=True, help="Only the first pair of each talk.")
@click.option("--without", type=click.Path(path_type=Path, exists=True), help="Ids of bad pairs, one a line.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which pairs are taken.")
@as_json
def mix(dataset: Path, out: Path, take: tuple[str, ...], paper: int | None, unique: bool, without: Path | None,
        seed: int, as_json: bool) -> None:  # fmt: skip
    """Compose a mix by types and counts. The validation part is the same in every mix."""
    from app.pairs import carded
    from eval.pairs.dataset import Dataset
    from eval.pairs.mix import mix as make
    from eval.pairs.mix import paper_mix

    if (paper is None) == (not take):
        raise InputError("say what the mix is: --take TYPE=COUNT, or --paper TOTAL")
    counts = paper_mix(paper) if paper is not None else dict(_count(text) for text in take)
    bad = without.read_text("utf-8").split() if without is not None else ()
    make(Dataset(dataset), out, counts, seed, unique, bad)
    made = carded(Dataset(out))
    _show(made, _terminal(as_json), ("train",))


@pairs.command()
@click.argument("dataset", type=DATASET)
@click.option("--out", type=click.Path(path_type=Path), help="HTML file. [default: DATASET/pairs.html]")
@click.option("--limit", type=click.IntRange(1), default=40, show_default=True, help="Pairs on the page.")
@click.option("--type", "kind", type=click.Choice(["content", "cuts_user", "silent", "mixed"]), help="Only this type.")
@as_json
def show(dataset: Path, out: Path | None, limit: int, kind: str | None, as_json: bool) -> None:
    """Write one page to look at and listen to pairs, and to mark bad ones."""
    from app.pairs_show import write_pairs_page
    from eval.pairs.dataset import Dataset

    terminal = _terminal(as_json)
    path = out or dataset / "pairs.html"
    page = write_pairs_page(Dataset(dataset), path, limit, kind)
    terminal.say(f"{len(page.pairs):,} of {page.total:,} pairs: {path}")
    terminal.result({"page": str(path), "pairs": len(page.pairs), "of": page.total})


@pairs.command()
@click.argument("dataset", type=DATASET)
@as_json
def stats(dataset: Path, as_json: bool) -> None:
    """Count a dataset's pairs by type, fault, axis and length."""
    from eval.pairs.dataset import Dataset

    _show(Dataset(dataset), _terminal(as_json), full=True)


@pairs.command()
@click.argument("dataset", type=DATASET)
@as_json
def verify(dataset: Path, as_json: bool) -> None:
    """Check that no row and no sound of a dataset was changed since it was made."""
    from eval.pairs.dataset import Dataset

    _terminal(as_json).unchanged("dataset", dataset, Dataset(dataset).verify())


@pairs.command()
@click.argument("dataset", type=DATASET)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSONL file.")
@click.option("--split", type=click.Choice(["train", "validation"]), help="Only this part.")
@as_json
def export(dataset: Path, out: Path, split: Any, as_json: bool) -> None:
    """Write the pairs as text for text trainers: prompt, chosen, rejected."""
    from eval.pairs.dataset import Dataset
    from eval.pairs.text import export_text

    terminal = _terminal(as_json)
    done = export_text(Dataset(dataset), out, split)
    terminal.say(f"{done.written:,} pairs in {out}; {done.same_text:,} left out, their words do not differ")
    terminal.result({**done._asdict(), "out": str(out)})


def _terminal(as_json: bool) -> "Terminal":
    from app.show import Terminal

    return Terminal(as_json)


def _count(text: str) -> tuple[str, int]:
    kind, _, count = text.partition("=")
    if not count.isdecimal():
        raise InputError(f"{text!r} is not TYPE=COUNT")
    return kind, int(count)


def _show(dataset: "Dataset", terminal: "Terminal", only: tuple[str, ...] = ("train", "validation"),
          full: bool = False) -> None:  # fmt: skip
    from app.pairs import agreements
    from eval.pairs.stats import as_text, bars, stats_of

    found, agreed = stats_of(dataset, only), agreements(dataset)
    terminal.table(["type", "pairs", "share"], as_text(found))
    if full:
        for histogram in found.histograms:
            terminal.say(f"\n{histogram.name}\n" + "\n".join(bars(histogram)))
    info = dataset.info
    if info.excluded:
        terminal.say("")
        rows = [(reason.replace("_", " "), f"{n:,}") for reason, n in info.excluded.items()]
        terminal.table(["left out", "talks or replies"], rows)
    if agreed:
        terminal.say("\nPeople and the judges\n" + "\n".join(a.text() for a in agreed))
    terminal.say(f"\nDataset: {dataset.path}\nContent hash: {info.digest}")
    people = [a._asdict() for a in agreed]
    terminal.result({"dataset": str(dataset.path), "digest": info.digest, "talks": info.talks,
                     "excluded": info.excluded, **found.data(), "agreement": people})  # fmt: skip

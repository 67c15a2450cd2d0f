"""`duologue systems` and `duologue suites`: what can be named on a command line."""

import click

from app.options import as_json

PLACES = {
    "questions:DIR": "the quick suite on your own recordings (TSV: Questions, Answer, Wav Filename)",
    "folder:DIR": "the users of talks recorded elsewhere (left agent, right user)",
    "fdb:DIR": "the inputs of Full-Duplex-Bench v1 or v1.5 folders",
    "moshi-finetune:DIR": "the users of stereo files with alignments, as moshi-finetune has them",
    "safety:FILE": "XSTest, ALERT, StrongREJECT, HarmBench, AdvBench or any table with a label safe or unsafe",
    "qa:PATH[@OVERLAY]": "a question set (TSV, CSV, JSON, JSONL; online qa:hub:NAME#SPLIT), spoken where it is mute",
    "learn:SUITE, judge:SUITE": "halves of a suite that share no question: one to make pairs from, one to judge by",
    "FILE.yaml": "a suite of your own, written like protocols/library/suites/quick.yaml",
}


@click.command()
@as_json
def systems(as_json: bool) -> None:
    """List the systems that can be named, and what is missing to run them."""
    from app.show import Terminal
    from app.systems import KINDS, missing

    terminal = Terminal(as_json)
    lacks = {name: missing(name) for name in KINDS}
    does = {name: text + (f"\nmissing: {lacks[name]}" if lacks[name] else "") for name, text in KINDS.items()}
    terminal.table(["system", "what it does"], list(does.items()))
    terminal.result({name: {"does": text, "missing": lacks[name]} for name, text in KINDS.items()})


@click.command()
@click.argument("name", required=False)
@as_json
def suites(name: str | None, as_json: bool) -> None:
    """List the suites that can be named; with a NAME, a suite's tasks and the metrics that score them."""
    from app.show import Terminal
    from eval.tasks.spec import read_spec
    from eval.tasks.suite import shipped_suites
    from protocols.errors import unknown_name

    terminal = Terminal(as_json)
    specs = {spec.name: spec for spec in map(read_spec, shipped_suites().values())}
    if name is not None:
        if name not in specs:
            raise unknown_name("shipped suite", name, specs)
        terminal.table(["task", "metrics"], [(t.name, ", ".join(t.metrics)) for t in specs[name].tasks])
        terminal.result({task.name: task.metrics for task in specs[name].tasks})
        return
    rows = {spec.name: spec.about for spec in specs.values()} | PLACES
    terminal.table(["suite", "what it asks"], list(rows.items()))
    terminal.say("\n`duologue suites NAME` lists the tasks of a shipped suite and what scores them.")
    terminal.result(rows)

"""Timing stimuli and sweeps as a user meets them: make a set, run it, and see what talking more or less would do."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from builders import tone
from commands import duologue
from eval.runner import JITTER_LIMIT
from protocols.duplex import SAMPLE_RATE
from protocols.records import Conversation
from protocols.store import Run


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of stimuli made from three recordings; its suite file."""
    folder = tmp_path_factory.mktemp("own")
    rows = ["Questions\tAnswer\tWav Filename\tSpeech start\tSpeech end\n"]
    for name in "abc":
        soundfile.write(folder / f"{name}.wav", np.pad(tone(0.8), 2_400), SAMPLE_RATE)
        rows.append(f"Say {name}\tyes\t{name}.wav\t0.1\t0.9\n")
    (folder / "questions.tsv").write_text("".join(rows))
    args = ("--recordings", folder, "--per-task", "1", "--pauses", "0.6", "--json")
    done = duologue("stimuli", folder / "set", *args)
    said = json.loads(done.stdout)
    assert said["n_samples"] == 7
    assert "left out backchannel: no recordings with the role backchannel" in done.stderr
    assert "there already" in duologue("stimuli", folder / "set", *args, code=2).stderr
    return Path(said["suite"])


def only(suite: Path, *tasks: str) -> Path:
    """The same set with these tasks alone."""
    lines = (suite.parent / "samples.jsonl").read_text().splitlines(keepends=True)
    name = "-".join(tasks)
    (suite.parent / f"{name}.jsonl").write_text("".join(line for line in lines if json.loads(line)["task"] in tasks))
    spec = msgspec.yaml.decode(suite.read_bytes())
    spec = {**spec, "samples": f"{name}.jsonl", "tasks": [task for task in spec["tasks"] if task["name"] in tasks]}
    (suite.parent / f"{name}.yaml").write_bytes(msgspec.yaml.encode(spec))
    return suite.parent / f"{name}.yaml"


def test_a_set_runs_as_a_suite_with_its_protocol_on_the_run(own: Path, tmp_path: Path) -> None:
    out, suite = tmp_path / "run", only(own, "turn_end", "interruption", "background")
    duologue("bench", "--suite", suite, "--system", "echo", "--asr", "none", "--repeats", "2", "--out", out)
    protocol = Run(out).info.protocol
    assert (protocol.suite, protocol.repeats, protocol.greeting, protocol.clock) == ("timing", 2, "none", "simulated")
    assert (protocol.lead_in, protocol.tail, protocol.seed) == (0.96, 4.0, 0)
    assert protocol.agent_onset == "level/1"
    assert protocol.jitter_limit is None
    assert protocol.listeners[0].startswith("silero")
    assert protocol.listeners[1] == "no transcriber"
    assert protocol.decoding == {"delay_frames": 1}
    assert JITTER_LIMIT == 0.08
    talks = list(Run(out).read(Conversation))
    assert len(talks) == 6
    waited = [event for talk in talks for event in talk.events if event.cue is not None]
    assert {event.kind for event in waited} == {"interruption", "background"}
    assert all(event.missed for event in waited)  # an echo is quiet once the user is


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of the embedded kind, small enough to talk at once."""
    from model.lm import DuplexLM, LMConfig, save_kyutai
    from model.tiny.codec import load_codec

    words = ("<epad>", "<bos>", "<eos>", "<pad>", *(f"word{i}" for i in range(8)))
    config = LMConfig(
        dim=32, num_layers=1, num_heads=2, n_q=16, dep_q=8, card=load_codec().card, text_card=len(words),
        delays=(0, 0, *[1] * 7, 0, *[1] * 7), context=32, depformer_dim=16, depformer_num_layers=1,
        depformer_num_heads=2, depformer_multi_linear=True, hidden_scale=2.0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny")
    save_kyutai(DuplexLM(config, seed=1), folder)
    (folder / "words.json").write_bytes(msgspec.json.encode(words))
    return folder


def words_said(run: Run) -> int:
    return sum(len(t.words) for talk in run.read(Conversation) for t in talk.transcripts)


@pytest.mark.needs("model")
def test_a_sweep_is_one_run_per_value_and_shows_what_talking_more_does(own: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    suite = only(own, "turn_end")
    args = ("bench", "--suite", suite, "--system", f"tiny:{tiny}", "--asr", "none", "--tail", "0.5", "--out", out)
    args += ("--sweep", "padding_bias=-3,3", "--decoding", "text_temperature=0.9", "--json")
    said = json.loads(duologue(*args).stdout)
    assert [point["value"] for point in said["points"]] == [-3, 3]
    runs = [Run(Path(point["run"])) for point in said["points"]]
    assert [run.path.name for run in runs] == ["padding_bias=-3", "padding_bias=3"]
    for run, value in zip(runs, (-3, 3), strict=True):
        assert run.info.protocol.decoding["padding_bias"] == value
        assert run.info.protocol.decoding["text_temperature"] == 0.9
        assert run.info.status == "done"
    chatty, shy = (words_said(run) for run in runs)
    assert chatty > shy
    before = [(run.path / "conversations.jsonl").read_bytes() for run in runs]
    again = json.loads(duologue(*args).stdout)
    assert again == said
    assert [(run.path / "conversations.jsonl").read_bytes() for run in runs] == before


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--system", "echo", "--sweep", "padding_bias=1,2"], "takes no --decoding options"),
        (["--system", "echo", "--sweep", "padding_bias"], "is not KEY=NUMBER,NUMBER"),
        (["--system", "echo", "--sweep", "padding_bias=1,1"], "different values"),
        (["--system", "echo", "--sweep", "x=1", "--decoding", "x=2"], "--decoding and by --sweep"),
        (["--system", "echo", "--jitter-limit", "0"], "jitter-limit"),
    ],
)
def test_a_sweep_that_cannot_be_made_is_one_clear_line(args: list[str], says: str, tmp_path: Path) -> None:
    assert says in duologue("bench", *args, "--limit", "1", "--out", tmp_path / "r", code=2).stderr
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--speaker", "espeek"], "did you mean 'espeak'"),
        (["--pauses", "0.5,x"], "not a list of seconds"),
        (["--recordings", "/nowhere"], "no folder of questions at /nowhere"),
        pytest.param(["--texts", "/nowhere.yaml"], "cannot read /nowhere.yaml", marks=pytest.mark.needs("espeak")),
        (["--texts", "a", "--recordings", "b"], "not both"),
    ],
)
def test_stimuli_that_cannot_be_made_are_one_clear_line(args: list[str], says: str, tmp_path: Path) -> None:
    assert says in duologue("stimuli", tmp_path / "set", *args, code=2).stderr
    assert list(tmp_path.iterdir()) == []

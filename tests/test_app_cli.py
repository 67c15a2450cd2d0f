"""The command as a user meets it: the demo end to end, reports in a real browser, errors in one line, exit codes."""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile

from app.cli import cli, main
from app.doctor import checks
from builders import DATA, ROOT, tone
from commands import duologue, started
from protocols.errors import ClaimFailed, InputError, SystemUnreachable
from protocols.records import Conversation, Listening, Score
from protocols.store import Run


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """The demo on 20 of the shipped questions, without speech recognition."""
    out = tmp_path_factory.mktemp("demo")
    done = duologue("demo", "--scripted", "--limit", "20", "--asr", "none", "--out", out, "--json")
    return out, json.loads(done.stdout)


def test_the_demo_reads_back_what_was_planted(demo: tuple[Path, dict[str, object]]) -> None:
    planted = {p["what"]: p for p in demo[1]["planted"]}  # type: ignore[attr-defined]
    late = planted["latency, second minus first"]
    assert late["planted"] == pytest.approx(-0.4)
    assert late["measured"] == pytest.approx(-0.4, abs=0.08)
    assert planted["cuts into pauses, scripted:late"]["measured"] == pytest.approx(0.3)
    assert planted["cuts into pauses, scripted:good"]["measured"] == 0
    assert planted["wrong answers, scripted:late"]["measured"] == pytest.approx(0.25)
    assert all(p["recovered"] for p in planted.values())


def test_the_demo_says_who_is_better(demo: tuple[Path, dict[str, object]]) -> None:
    claims = {c["metric"]: c for c in demo[1]["claims"]}  # type: ignore[attr-defined]
    assert claims["timing.latency"]["verdict"] == "better"
    pauses = claims["timing.pause_held"]
    assert pauses["result"]["p"] < 0.05 < pauses["p_adjusted"], "one test of six items would find it, one of four not"
    assert pauses["verdict"] == "undecided"


def test_the_report_has_a_twin_with_the_same_numbers(demo: tuple[Path, dict[str, object]]) -> None:
    out, said = demo
    twin = json.loads((out / "report.json").read_text())
    for claim, short in zip(twin["claims"], said["claims"], strict=True):  # type: ignore[call-overload]
        assert claim["sentence"] == short["sentence"]
        assert claim["result"] == short["result"]
        assert claim["sentence"] in (out / "report.html").read_text().replace("&#34;", '"')


def test_the_report_loads_nothing_from_anywhere(demo: tuple[Path, dict[str, object]]) -> None:
    html = (demo[0] / "report.html").read_text()
    head = html[: html.index("<script>")]
    assert "http" not in head
    body = html[html.index("</head>") :]
    assert ' src="http' not in body
    assert ' href="http' not in body


@pytest.mark.needs("chromium")
def test_a_browser_draws_the_report(demo: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --virtual-time-budget=10000 --window-size=1100,3000"
    browser = [shutil.which("chromium") or "", *flags.split(), f"--user-data-dir={tmp_path / 'profile'}"]
    shot, url = tmp_path / "report.png", f"file://{demo[0] / 'report.html'}"
    command = [*browser, "--dump-dom", f"--screenshot={shot}", url]
    dom = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    claims = len(demo[1]["claims"])  # type: ignore[arg-type]
    assert dom.count('class="main-svg"') >= claims, "plotly drew no figures"
    assert dom.count('<svg viewbox="0 0 1000') + dom.count('<svg viewBox="0 0 1000') == 8
    assert shot.stat().st_size > 50_000


def test_scoring_again_touches_neither_sound_nor_system(demo: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(demo[0] / "scripted-late", run)
    before = json.loads(duologue("score", run, "--json").stdout)
    shutil.rmtree(run / "audio")
    (run / "scores.jsonl").unlink()
    after = json.loads(duologue("score", run, "--json").stdout)
    assert after["figures"] == before["figures"]


def test_thresholds_end_with_code_1(demo: tuple[Path, dict[str, object]]) -> None:
    run = demo[0] / "scripted-late"
    duologue("score", run, "--require", "qa.text>=0.5")
    failed = duologue("score", run, "--require", "qa.text>=0.99", code=1)
    assert failed.stderr.strip() == "duologue: qa.text is 0.75, not >= 0.99"
    duologue("score", run, "--require", "qa.txt>=0.5", code=2)


def test_compare_requires_verdicts(demo: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    a, b = demo[0] / "scripted-late", demo[0] / "scripted-good"
    duologue("compare", a, b, "--out", tmp_path, "--require", "timing.latency=better")
    failed = duologue("compare", b, a, "--out", tmp_path, "--require", "timing.latency=not-worse", code=1)
    assert "timing.latency is worse, not not-worse" in failed.stderr


def test_a_claims_file_is_a_gate(demo: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    a, b, plan = demo[0] / "scripted-late", demo[0] / "scripted-good", tmp_path / "claims.yaml"
    plan.write_text("primary: timing.pause_held\nclaims: {timing.latency: better}\nharms: {qa.text: 0.05}\n")
    back = duologue("compare", b, a, "--out", tmp_path / "back", "--claims", plan, "--json", code=1)
    assert "harm to qa.text is not excluded for scripted:late" in back.stderr
    done = duologue("compare", a, b, "--out", tmp_path / "r", "--claims", plan, "--json")
    said = {c["metric"]: c["verdict"] for c in json.loads(done.stdout)["claims"]}
    assert (said["timing.pause_held"], said["timing.latency"], said["qa.text"]) == ("better", "better", "no harm")
    page = (tmp_path / "r" / "report.html").read_text()
    assert 'href="talks/' in page
    assert len(list((tmp_path / "r" / "talks").iterdir())) == page.count(">timeline</a>")


def test_runs_under_different_protocols_are_refused_and_forced_with_a_warning(
    demo: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    duologue("bench", "--system", "scripted:good", "--limit", "3", "--asr", "none", "--lead-in", "2", "--out", other)
    refused = duologue("compare", demo[0] / "scripted-good", other, code=2)
    assert "lead in 0.96 against 2.0" in refused.stderr
    forced = duologue("compare", demo[0] / "scripted-good", other, "--force", "--out", tmp_path / "r")
    assert "Warning: lead in 0.96 against 2.0" in forced.stdout
    assert "lead in 0.96 against 2.0" in (tmp_path / "r" / "report.html").read_text()


def test_runs_that_share_no_sample_are_refused(demo: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    folder = stereo_folder(tmp_path / "talks")
    duologue("bench", "--system", f"recorded:{folder}", "--asr", "none", "--out", tmp_path / "r")
    refused = duologue("compare", demo[0] / "scripted-good", tmp_path / "r", "--force", code=2)
    assert "share no scored sample" in refused.stderr


def stereo_folder(folder: Path) -> Path:
    """Two real talks: a spoken question and, 0.5 s after it, its spoken reply."""
    from builders import spoken

    folder.mkdir()
    for name in ("q01", "q02"):
        (user, turn), (agent, reply) = spoken(f"{name}.flac"), spoken(f"{name}.reply.flac")
        audio = np.zeros((24_000 * 8, 2), np.float32)
        audio[24_000 : 24_000 + len(user), 1] = user
        at = 24_000 + round((turn.end + 0.5 - reply.start) * 24_000)
        audio[at : at + len(agent), 0] = agent
        soundfile.write(folder / f"{name}.wav", audio, 24_000)
    return folder


def test_recordings_made_elsewhere_are_evaluated_without_running_anything(tmp_path: Path) -> None:
    folder = stereo_folder(tmp_path / "talks")
    done = duologue("bench", "--system", f"recorded:{folder}", "--asr", "none", "--out", tmp_path / "r", "--json")
    latency = next(f for f in json.loads(done.stdout)["figures"] if f["metric"] == "timing.latency")
    assert latency["outcomes"] == {"answered": 2}
    assert latency["value"] == pytest.approx(0.5, abs=0.06)


def test_silence_is_never_good(tmp_path: Path) -> None:
    done = duologue("bench", "--system", "silence", "--limit", "4", "--asr", "none", "--out", tmp_path / "r", "--json")
    by_name = {f["metric"]: f for f in json.loads(done.stdout)["figures"]}
    assert by_name["timing.pause_held"]["value"] == 0
    assert by_name["qa.text"]["value"] == 0
    assert by_name["timing.latency"]["value"] is None
    assert by_name["timing.latency"]["n_items"] == 8


def test_every_row_of_a_run_says_where_it_comes_from(demo: tuple[Path, dict[str, object]]) -> None:
    run = Run(demo[0] / "scripted-late")
    assert run.verify() == []
    assert all(t.recording and len(t.recording.sha256) == 64 for t in run.read(Conversation))
    assert all("silero" in a.source for row in run.read(Listening) for a in row.activity)
    assert all(s.scorer.startswith(s.metric) for s in run.read(Score))


def test_verify_names_a_changed_file(demo: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(demo[0] / "scripted-late", run)
    duologue("verify", run)
    sound = next((run / "audio").glob("*.flac"))
    data = bytearray(sound.read_bytes())
    data[-1] ^= 1
    sound.write_bytes(data)
    assert sound.name in duologue("verify", run, code=1).stdout


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["bench", "--system", "scriptd:good"], 2, "unknown system 'scriptd:good'; did you mean 'scripted:good'?"),
        (["bench", "--system", "echo", "--suite", "quik"], 2, "unknown suite 'quik'; did you mean 'quick'?"),
        (["bench", "--system", "echo", "--asr", "wisper"], 2, "unknown transcriber"),
        (["bench", "--system", "recorded:/nowhere"], 2, "no folder of recordings at /nowhere"),
        (["verify"], 2, "Missing argument 'RUN'"),
        (["bench", "--system", "echo", "--repeats", "0"], 2, "repeats"),
        (["compare", "/nowhere", "/nowhere"], 2, "/nowhere is not a run folder"),
        (["score", "/nowhere"], 2, "/nowhere is not a run folder"),
        (["demo", "--questions", "/nowhere"], 2, "no folder of questions at /nowhere"),
        (["bogus"], 2, "bogus"),
    ],
)
def test_bad_usage_is_one_clear_line_and_code_2(args: list[str], code: int, says: str, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "r")] if args[0] in ("bench", "demo") and len(args) > 1 else []
    assert says in duologue(*args, *out, code=code).stderr
    assert not (tmp_path / "r" / "run.json").exists()


def test_another_run_in_the_folder_is_left_alone(demo: tuple[Path, dict[str, object]]) -> None:
    run = demo[0] / "scripted-late"
    before = (run / "run.json").read_bytes()
    refused = duologue("bench", "--system", "echo", "--limit", "20", "--asr", "none", "--out", run, code=2)
    assert "holds another run" in refused.stderr
    assert (run / "run.json").read_bytes() == before


def test_a_disk_that_fills_up_leaves_a_readable_run_that_can_go_on(tmp_path: Path) -> None:
    """No file may grow past 150 kB: the run stops with one line, and goes on once there is room."""

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))

    talks = tmp_path / "talks"
    talks.mkdir()
    noise = (0.2 * np.random.default_rng(0).standard_normal((24_000 * 5, 2))).astype(np.float32)
    soundfile.write(talks / "a.wav", np.stack([tone(1), tone(1)], axis=1), 24_000)
    soundfile.write(talks / "b.wav", noise, 24_000)
    (talks / "b.json").write_text('{"events": []}')
    args = ("bench", "--system", f"recorded:{talks}", "--asr", "none", "--out", tmp_path / "r")
    stopped = started(*args, code=2, preexec_fn=small_disk)
    assert "what was written before is safe" in stopped.stderr
    assert [t.sample for t in Run(tmp_path / "r").read(Conversation)] == ["a"]
    duologue(*args)
    assert [t.sample for t in Run(tmp_path / "r").read(Conversation)] == ["a", "b"]
    assert Run(tmp_path / "r").verify() == []


@pytest.mark.parametrize(("given", "used"), [(None, 1), ("2", 2)])
def test_numpy_computes_on_one_thread_unless_told_otherwise(given: str | None, used: int) -> None:
    """On a busy machine a second thread of OpenBLAS made talks six times as slow."""
    code = (
        "import sys, click, app.cli as a, threadpoolctl as t\n"
        "def show():\n import numpy\n print([p['num_threads'] for p in t.threadpool_info()])\n"
        "a.cli.add_command(click.Command('show', callback=show)); sys.argv = ['duologue', 'show']; a.main()"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    env = inherited | ({} if given is None else {"OPENBLAS_NUM_THREADS": given})
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[{min(used, os.cpu_count() or 1)}]"


@pytest.mark.parametrize(
    ("error", "code"), [(SystemUnreachable("gone"), 3), (ClaimFailed("no"), 1), (InputError("what"), 2), (None, 0)]
)
def test_each_end_has_its_exit_code(
    error: Exception | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end() -> None:
        if error is not None:
            raise error

    monkeypatch.setitem(cli.commands, "end", click.Command("end", callback=end))
    monkeypatch.setattr(sys, "argv", ["duologue", "end"])
    with pytest.raises(SystemExit) if code else contextlib.nullcontext() as stopped:
        main()
    assert (stopped.value.code if stopped else 0) == code
    assert capsys.readouterr().err == (f"duologue: {error}\n" if error else "")


def test_doctor_knows_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    told = " ".join(check.get for check in checks())
    assert [name for name in extras if name != "test" and f".[{name}]" not in told] == []


@pytest.mark.parametrize("command", ["systems", "suites", "doctor", "version"])
def test_lists_print_a_table_and_json(command: str) -> None:
    assert duologue(command).stdout.strip()
    assert json.loads(duologue(command, "--json").stdout)


def test_a_shipped_suite_shows_its_tasks_and_another_one_the_nearest() -> None:
    assert json.loads(duologue("suites", "world", "--json").stdout)["pauses"] == ["timing.pause_held", "timing.latency"]
    assert "did you mean 'world'" in duologue("suites", "wrold", code=2).stderr


def test_brackets_in_a_table_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    from app.show import Terminal

    Terminal(as_json=False).table(["get"], [["pip install -e '.[model]'"]])
    assert "'.[model]'" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "bench",
        "score",
        "compare",
        "systems",
        "suites",
        "doctor",
        "verify",
        "train-base",
        "train-codec",
        "stimuli",
        "import",
        "export",
        "show",
        "plan",
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    text = duologue(command, "--help").stdout
    assert "--json" in text
    assert "Usage: " in text


@pytest.mark.needs("data")
@pytest.mark.needs("espeak")
@pytest.mark.needs("whisper")
def test_real_spoken_questions_go_through_the_whole_house(tmp_path: Path) -> None:
    done = duologue("demo", "--questions", DATA / "llama-questions", "--limit", "5", "--out", tmp_path, "--json")
    said = json.loads(done.stdout)
    assert all(p["recovered"] for p in said["planted"])
    assert {c["metric"] for c in said["claims"]} >= {"qa.text", "qa.speech", "timing.latency", "timing.pause_held"}


@pytest.mark.needs("whisper")
def test_answers_are_heard_as_they_were_said(tmp_path: Path) -> None:
    done = duologue("bench", "--system", "scripted:good", "--limit", "8", "--out", tmp_path / "r", "--json")
    heard = next(f for f in json.loads(done.stdout)["figures"] if f["metric"] == "qa.speech")
    assert heard["value"] == 1.0


def test_without_text_to_speech_the_demo_says_so_and_still_measures_timing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "questions"
    folder.mkdir()
    for name in ("q01", "q02", "q03", "q04"):
        shutil.copy(ROOT / "protocols/library/spoken" / f"{name}.flac", folder)
    rows = "".join(f"Question {n}?\tanswer {n}\tq{n:02d}.flac\n" for n in range(1, 5))
    (folder / "mine.tsv").write_text("Question\tAnswer\tWav Filename\n" + rows)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = duologue("demo", "--questions", folder, "--asr", "none", "--out", tmp_path / "d", "--json", code=1)
    assert "espeak-ng is not installed" in done.stderr
    late = next(p for p in json.loads(done.stdout)["planted"] if p["what"].startswith("latency"))
    assert late["recovered"]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the embedded shape with random weights and the shipped codec's vocabulary."""
    import msgspec

    from model.lm import DuplexLM, save_kyutai
    from model.tiny.clips import vocabulary
    from model.tiny.recipe import tiny_config
    from model.tiny.world import load_world

    folder = tmp_path_factory.mktemp("untrained")
    words = vocabulary(load_world())
    save_kyutai(DuplexLM(tiny_config(len(words), 1024), seed=0).half(), folder)
    (folder / "words.json").write_bytes(msgspec.json.encode(words))
    return folder


def test_a_model_with_a_codec_and_a_voice_talks_and_is_scored(untrained: Path, tmp_path: Path) -> None:
    args = [
        "bench",
        "--suite",
        "world",
        "--system",
        f"tiny:{untrained}",
        "--limit",
        "2",
        "--tail",
        "1",
        "--asr",
        "none",
    ]
    decoding = ["--decoding", "padding_bias=1.5", "--decoding", "greeting=0"]
    said = json.loads(duologue(*args, *decoding, "--out", tmp_path / "r", "--json").stdout)
    assert {f["metric"] for f in said["figures"]} >= {"qa.text", "timing.latency", "timing.pause_held"}
    run = Run(tmp_path / "r")
    assert run.info.protocol.decoding["padding_bias"] == 1.5
    assert run.info.protocol.decoding["greeting"] is False
    talks = list(run.read(Conversation))
    assert len(talks) == 12
    for talk in talks:
        assert talk.recording is not None
        assert talk.tokens is not None
        grid = np.load(run.path / talk.tokens.path)
        assert grid.shape == (17, talk.recording.n_samples // 1_920 - 1)
    assert run.verify() == []


def test_decoding_options_are_checked(untrained: Path, tmp_path: Path) -> None:
    args = ["bench", "--limit", "1", "--asr", "none", "--out", str(tmp_path / "r")]
    tiny = ["--system", f"tiny:{untrained}"]
    assert "did you mean 'padding_bias'" in duologue(*args, *tiny, "--decoding", "paddingbias=1", code=2).stderr
    assert "is not KEY=NUMBER" in duologue(*args, *tiny, "--decoding", "padding_bias=high", code=2).stderr
    assert "takes no --decoding" in duologue(*args, "--system", "echo", "--decoding", "top=1", code=2).stderr
    assert "cannot be read" in duologue(*args, "--system", "tiny:/nowhere", code=2).stderr

"""`command:` with real programs: exact timing, a clear outcome for every way a program can be bad, none left behind."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from builders import ROOT, tone
from eval.runner import drive
from model.systems.command import CommandSystem, Patience
from protocols.duplex import FRAME_SIZE, SAMPLE_RATE, Session
from protocols.errors import InputError, PeerFailed
from protocols.records import Conversation
from remote import FAST, edges, questions, run_in

pytestmark = pytest.mark.real_time

ANSWERER = f"{sys.executable} {ROOT / 'tests' / 'peers' / 'answerer.py'}"
PATIENT = Patience(start=200.0, open=200.0, step=200.0)
BRISK = PATIENT._replace(step=1.0)
FRAME = np.zeros(FRAME_SIZE, np.float32)

BAD = """
import json, os, sys, time
def say(**m): print(json.dumps(m), flush=True)
say(duologue=1, name="bad", version="1", sample_rate=24000)
n = 0
for line in sys.stdin:
    m = json.loads(line)
    if "open" in m:
        n += 1; say(ready=True); frames = 0
    elif "audio" in m:
        frames += 1
        if frames < 5 or os.path.exists(sys.argv[1]): say()
        else: open(sys.argv[1], "w").close(); {fault}
"""
FAULTS = {
    "dies": ("print('out of memory', file=sys.stderr); sys.exit(3)", r"ended, exit code 3; its stderr: out of memory"),
    "stalls": ("time.sleep(60)", r"wrote nothing for 1 s"),
    "babbles": ("[say() for _ in range(100_000)]", r"a line nobody asked for"),
    "prints": ("print('loading model...', flush=True)", r"wrote 'loading model...', which is no answer"),
    "sends too little": ("say(audio='AAAA')", r"sent 3 bytes of audio, not 3840"),
    "sends no base64": ("say(audio='?')", r"audio that is not base64"),
    "sends a wrong type": ("say(text=7)", r"Expected `array`, got `int`"),
    "stops inside a line": ("sys.stdout.write('{\"audio\"'); sys.exit(0)", r"wrote a line without an end"),
    "says why": ("say(error='the GPU is gone')", r"said: the GPU is gone"),
}  # fmt: skip


def bad(folder: Path, fault: str, patience: Patience = PATIENT) -> CommandSystem:
    """A program that fails once, in the fifth frame of its first talk."""
    program = folder / "bad.py"
    program.write_text(BAD.replace("{fault}", fault))
    return CommandSystem(f"{sys.executable} {program} {folder / 'failed'}", patience)


def test_an_answerer_is_measured_at_its_latency_to_the_sample(tmp_path: Path) -> None:
    system = CommandSystem(ANSWERER, PATIENT)
    assert system.info.name == "command:answerer"
    run = run_in(tmp_path)
    drive(system, questions(tmp_path), tmp_path, run, FAST)
    system.close()
    talks = list(run.read(Conversation))
    assert len(talks) == 3
    for talk in talks:
        agent, user = run.read_audio(talk.recording)  # type: ignore[arg-type]
        assert edges(agent)[0] - edges(user)[1] == pytest.approx(0.3, abs=0.003)
        (word,) = talk.transcripts[0].words
        assert word.text == "hello"
        assert word.start == pytest.approx(edges(agent)[0], abs=0.08)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_program_fails_its_talk_and_no_other(fault: str, tmp_path: Path) -> None:
    code, reason = FAULTS[fault]
    system = bad(tmp_path, code, BRISK if fault == "stalls" else PATIENT)
    run = run_in(tmp_path)
    before = time.monotonic()
    driven = drive(system, questions(tmp_path), tmp_path, run, FAST)
    system.close()
    assert time.monotonic() - before < 20
    assert (driven.made, driven.failed) == (3, 1)
    (failed,) = (talk for talk in run.read(Conversation) if talk.recording is None)
    with pytest.raises(PeerFailed, match=reason):
        raise PeerFailed(failed.reason)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import time; time.sleep(60)", "wrote nothing for 0.5 s"),
        ("import sys; sys.exit('no checkpoint at /m')", "ended, exit code 1; its stderr: no checkpoint at /m"),
        ("print('hello')", "began with 'hello' instead of a line that introduces it"),
        ('print(\'{"duologue": 2, "name": "", "version": "", "sample_rate": 24000}\')', "speaks protocol 2"),
        ('print(\'{"duologue": 1, "name": "", "version": "", "sample_rate": 5}\')', "at 5 Hz"),
    ],
)
def test_a_program_that_does_not_introduce_itself_is_refused(program: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "p.py"
    file.write_text(program + "\nimport time; time.sleep(60)" if "print" in program else program)
    with pytest.raises(InputError, match=message):
        CommandSystem(f"{sys.executable} {file}", Patience(start=0.5 if "sleep" in program else 200.0))


@pytest.mark.parametrize(
    ("command", "message"), [("", "needs a program"), ("'a", "split"), ("/no/such", "cannot start")]
)
def test_what_cannot_be_started_is_said_at_once(command: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CommandSystem(command)


def test_a_program_and_its_children_are_gone_after_close(tmp_path: Path) -> None:
    note = tmp_path / "child"
    code = (
        f"import subprocess; open({str(note)!r}, 'w').write(str(subprocess.Popen(['sleep', '60']).pid)); time.sleep(60)"
    )
    system = bad(tmp_path, code, BRISK)
    session = system.open(0)
    with pytest.raises(PeerFailed):
        _silence(session)
    child = int(note.read_text())
    while _runs(child):
        time.sleep(0.02)


def _silence(session: Session) -> None:
    for _ in range(9):
        session.step(FRAME)


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False


def test_a_secret_on_stderr_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "sk-0123456789")
    system = bad(tmp_path, "sys.exit('bad key ' + os.environ['MY_API_KEY'])")
    session = system.open(0)
    with pytest.raises(PeerFailed, match=r"bad key \[hidden\]"):
        _silence(session)


def test_a_program_has_its_own_rate_and_may_end_the_talk(tmp_path: Path) -> None:
    program = tmp_path / "p.py"
    program.write_text(
        "import json, sys\n"
        "def say(**m): print(json.dumps(m), flush=True)\n"
        "say(duologue=1, name='p', version='1', sample_rate=8000, has_text=False)\n"
        "n = 0\n"
        "for line in sys.stdin:\n"
        "    m = json.loads(line)\n"
        "    n = n + 1 if 'audio' in m else 0\n"
        "    if 'close' not in m: say(ready=True, audio=m.get('audio', ''), end=n > 10)\n"
    )
    system = CommandSystem(f"{sys.executable} {program}", PATIENT)
    assert (system.info.sample_rate, system.info.frame_size) == (8_000, 640)
    run = run_in(tmp_path)
    drive(system, questions(tmp_path), tmp_path, run, FAST)
    system.close()
    for talk in run.read(Conversation):
        assert talk.recording is not None
        assert talk.recording.duration == pytest.approx(10 * 0.08)
        assert talk.transcripts == ()


def test_samples_survive_the_way_there_and_back(tmp_path: Path) -> None:
    program = tmp_path / "p.py"
    program.write_text(
        "import json, sys\n"
        "print(json.dumps(dict(duologue=1, name='p', version='1', sample_rate=24000)), flush=True)\n"
        "for line in sys.stdin: print(json.dumps({'ready': True, **json.loads(line)}), flush=True)\n"
    )
    system = CommandSystem(f"{sys.executable} {program}", PATIENT)
    session = system.open(0)
    sound = tone(FRAME_SIZE / SAMPLE_RATE)
    np.testing.assert_allclose(session.step(sound).audio, sound, atol=1e-4)
    system.close()

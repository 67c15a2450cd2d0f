"""Remote systems as a user names them: one record shape, secrets kept, what is missing, an examination."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("sphn", reason="pip install -e '.[moshi-server]'")
pytest.importorskip("openai", reason="pip install -e '.[openai]'")
pytest.importorskip("websockets", reason="pip install -e '.[openai]'")
pytest.importorskip("sentencepiece", reason="pip install -e '.[moshi]'")

from test_model_systems_cascade import cascade, config
from test_model_systems_tiny import CONFIG, WORDS, LevelCodec, LevelEncoder

from analysis.report.render import write_report
from analysis.report.summarize import summarize
from app.bench import BenchOptions, bench
from app.show import Terminal
from app.systems import KINDS, open_system
from builders import ROOT
from commands import duologue
from eval.runner import drive
from eval.tasks.suite import Suite
from model.lm import LMStep
from model.systems.tiny import Parts, TinySystem
from model.tiny.grid import FIRST_WORD
from peers.chat_peer import chat_peer
from peers.moshi_peer import moshi_peer
from peers.realtime_peer import realtime_peer
from protocols.duplex import FRAME
from protocols.errors import InputError
from protocols.records import Conversation
from protocols.secrets import without_secrets
from remote import FAST, LIVE, LOUD, edges, question, run_in, steady_talk

pytestmark = pytest.mark.real_time

ANSWERER = f"command:{sys.executable} {ROOT / 'tests' / 'peers' / 'answerer.py'}"
CHECKPOINT = ROOT / "tests" / "golden" / "moshi_talk"
SECRET = "sk-hush-0123456789"
NONE = Suite("none", Path(), (), "0", ())


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


class PlantedLM:
    """A language model that learnt nothing: it is heard in the fourth frame after the user's last loud one."""

    config, norm = CONFIG, torch.zeros(1)

    def eval(self) -> "PlantedLM":
        return self

    @contextmanager
    def streaming(self, slots: int, decoding: object) -> Iterator[None]:
        yield

    def reset(self, slots: torch.Tensor, seeds: Sequence[int]) -> None:
        self._loud: list[bool] = []

    def step(self, user: torch.Tensor, active: torch.Tensor, forced: torch.Tensor) -> LMStep:
        self._loud.append(bool(user[0].any()))
        since = self._loud[::-1].index(True) if any(self._loud) else 0
        tokens = torch.zeros(len(user), 9, dtype=torch.long)
        tokens[:, 1:] = 4 if 2 <= since < 8 else 0
        tokens[:, 0] = FIRST_WORD if since == 2 else 3
        return LMStep(tokens, active & (len(self._loud) > 1), torch.zeros(0), torch.zeros(0))


class Ear(LevelEncoder):
    """Code 1 is a frame with sound, however little."""

    def push(self, frames: np.ndarray, active: np.ndarray) -> np.ndarray:
        return np.repeat((np.abs(frames) > LOUD).any(axis=1)[:, None], 8, axis=1).astype(np.int16)


class EarCodec(LevelCodec):
    def encoder(self, batch: int) -> Ear:
        return Ear()


def planted() -> TinySystem:
    """The machinery of `tiny:` and `moshi:` around a model whose latency is known."""
    return TinySystem("tiny:planted", Parts(PlantedLM(), EarCodec(), WORDS, "1"), slots=1)  # type: ignore[arg-type]


def test_one_question_ends_in_one_record_shape_whatever_the_transport(tmp_path: Path) -> None:
    """An answerer of 300 ms is measured at 300 ms, within a frame, through each."""
    talks = {}
    with moshi_peer() as (_, moshi), realtime_peer() as (_, realtime), chat_peer() as chat:
        named = {ANSWERER: FAST, f"moshi-server:{moshi}": LIVE, f"openai-realtime:m@{realtime}": LIVE}
        systems = {name: (open_system(name, NONE, options).system, options) for name, options in named.items()}
        systems["tiny"] = (planted(), FAST)
        systems["cascade"] = (cascade(config(chat)), FAST)
        systems["moshi"] = (open_system(f"moshi:{CHECKPOINT}", NONE, FAST).system, FAST)  # random: it babbles
        for i, (name, (system, options)) in enumerate(systems.items()):
            (folder := tmp_path / str(i)).mkdir()
            talk, agent, user, talks[name] = steady_talk(system, question(folder, 1)[0], folder, options)
            system.close()
            assert talk.transcripts[0].channel == "agent"
            assert talk.transcripts[0].words, name
            assert (talk.tokens is not None) == (name in ("tiny", "moshi"))
            if name != "moshi":
                assert edges(agent)[0] - edges(user)[1] == pytest.approx(0.3, abs=FRAME), name
                assert talk.transcripts[0].words[0].start == pytest.approx(edges(agent)[0], abs=FRAME)
    first, *others = talks.values()
    for other in others:
        assert list(other) == list(first)
        assert {key: other[key] for key in ("sample", "take", "seed", "user_offset", "events")} == {
            key: first[key] for key in ("sample", "take", "seed", "user_offset", "events")
        }
        assert other["recording"]["n_samples"] == first["recording"]["n_samples"]


def test_a_benchmark_of_a_remote_system_keeps_the_key_to_itself(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with realtime_peer(["errors"]) as (peer, address):
        live = LIVE._replace(lead_in=0.96, tail=0.1)
        options = BenchOptions("quick", f"openai-realtime:m@{address}", tmp_path / "run", live, "none", 1)
        run = bench(options, Terminal(False)).run
    write_report(summarize([run, run]), tmp_path)
    assert peer.headers[0]["Authorization"] == f"Bearer {SECRET}"
    assert sum(talk.reason is not None for talk in run.read(Conversation)) == 1
    assert SECRET not in "".join(capfd.readouterr())
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


def test_a_system_with_its_own_time_is_refused_on_the_simulated_clock(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only runs in real time; give --clock real-time"):
        drive(open_system("moshi-server:ws://nowhere:1", NONE, FAST).system, [], tmp_path, run_in(tmp_path), FAST)


@pytest.mark.parametrize(
    "name",
    [
        "moshi-server:ws://me:word@host:1",
        "moshi-server:wss://host/api/chat?token=abc",
        "openai-realtime:m@https://host/v1?api-key=abc",
        f"command:program --key {SECRET}",
    ],
)
def test_a_name_that_holds_a_secret_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="lies in run folders") as refused:
        open_system(name, NONE, FAST)
    assert "abc" not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_texts_of_others_lose_every_secret_of_the_environment() -> None:
    environment = {"A_TOKEN": "0123456789", "B_KEY": "01234567890123", "C_SECRET": "short", "PATH": "/usr/bin/x"}
    text = "0123456789 and 01234567890123, short, /usr/bin/x"
    assert without_secrets(text, environment) == "[hidden] and [hidden], short, /usr/bin/x"


def test_systems_are_listed_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = json.loads(duologue("systems", "--json").stdout)
    assert list(listed) == list(KINDS)
    realtime = next(name for name in KINDS if name.startswith("openai-realtime:"))
    assert listed[realtime]["missing"] is None
    assert listed["silence"]["missing"] is None
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "OPENAI_API_KEY" in json.loads(duologue("systems", "--json").stdout)[realtime]["missing"]
    assert "missing: OPENAI_API_KEY" in duologue("systems").stdout


def test_the_doctor_examines_a_system_with_one_question() -> None:
    found = json.loads(duologue("doctor", "--system", "scripted:good", "--json").stdout)
    assert found["latency"] == pytest.approx(0.6, abs=0.08)
    assert found["said"]
    assert found["real_time_factor"] < 1
    assert found["agent"]["speech"] == pytest.approx(-24, abs=6)
    assert found["user"]["peak"] < 0


def test_the_doctor_says_why_a_system_cannot_be_examined() -> None:
    assert "is it running" in duologue("doctor", "--system", "moshi-server:ws://127.0.0.1:9", code=3).stderr
    assert "cannot start" in duologue("doctor", "--system", "command:/no/such/program", code=2).stderr

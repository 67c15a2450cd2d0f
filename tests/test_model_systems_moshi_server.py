"""`moshi-server:` against a small peer that speaks Kyutai's protocol, well and badly; on request the real server."""

import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sphn", reason="pip install -e '.[moshi-server]'")
pytest.importorskip("websockets", reason="pip install -e '.[moshi-server]'")

from builders import ROOT
from eval.runner import drive
from model.systems.moshi_server import MoshiServerSystem, Patience
from peers.moshi_peer import moshi_peer
from protocols.duplex import FRAME, FRAME_SIZE, SAMPLE_RATE
from protocols.errors import InputError, PeerFailed, SystemUnreachable
from protocols.records import Conversation
from remote import FAST, LIVE, edges, question, questions, run_in, steady_talk

pytestmark = pytest.mark.real_time

BRISK = Patience(connect=5.0, queue=10.0, handshake=0.7, behind=1.0)
FRAME_OF_SILENCE = np.zeros(FRAME_SIZE, np.float32)
FAULTS = {
    "no handshake": "did not shake hands within 0.7 s",
    "refuses": "said: full",
    "other version": "version 7",
    "cuts": "cut the connection",
    "dies": "cut the connection",
    "stalls": "stalled or is slower than speech",
    "slow": "stalled or is slower than speech",
    "floods": "ahead of its time",
    "pings": " messages in ",
    "no opus": "not Ogg-Opus",
    "no utf-8": "not UTF-8",
    "text": "sent text where the protocol has bytes",
    "error": "said: out of memory",
    "too long": "cut the connection",
}


def test_an_answerer_is_measured_at_its_latency(tmp_path: Path) -> None:
    with moshi_peer() as (peer, address):
        talk, agent, user, _ = steady_talk(MoshiServerSystem(address), questions(tmp_path, 2)[1], tmp_path)
    assert edges(agent)[0] - edges(user)[1] == pytest.approx(0.3, abs=FRAME)
    (word,) = talk.transcripts[0].words
    assert word.text == "héllo"
    assert word.start == pytest.approx(edges(agent)[0], abs=FRAME)
    assert set(peer.paths) == {"/api/chat"}


def test_every_fault_fails_its_talk_in_time_and_the_run_goes_on(tmp_path: Path) -> None:
    with moshi_peer([*FAULTS]) as (_, address):
        system = MoshiServerSystem(address, BRISK)
        run = run_in(tmp_path)
        before = time.monotonic()
        driven = drive(system, question(tmp_path, len(FAULTS) + 1), tmp_path, run, LIVE)
    assert driven.made == len(FAULTS) + 1
    assert time.monotonic() - before < 120
    *failed, last = run.read(Conversation)
    assert last.recording is not None, last.reason
    for talk, (name, reason) in zip(failed, FAULTS.items(), strict=True):
        assert reason in (talk.reason or ""), name


def test_a_babbling_server_is_recorded_to_the_end_of_the_talk_and_no_longer(tmp_path: Path) -> None:
    (asked,) = question(tmp_path, 1)
    with moshi_peer(["babbles"] * 6) as (_, address):
        _, agent, user, _ = steady_talk(MoshiServerSystem(address), asked, tmp_path, LIVE._replace(tail=0.2))
    assert edges(agent)[1] == pytest.approx(len(user) / SAMPLE_RATE, abs=0.2)


def test_one_hiccup_does_not_delay_the_rest_of_a_talk(tmp_path: Path) -> None:
    (asked,) = question(tmp_path, 1)
    options = LIVE._replace(lead_in=0.8, tail=0.8)
    with moshi_peer(["hiccups"] * 6) as (_, address):
        _, agent, user, _ = steady_talk(MoshiServerSystem(address), asked, tmp_path, options)
    assert edges(agent)[0] - edges(user)[1] == pytest.approx(0.3, abs=FRAME)


def test_a_server_that_is_not_there_stops_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(SystemUnreachable, match="is it running"):
        MoshiServerSystem(f"ws://127.0.0.1:{port}", BRISK).open(0)


def test_something_else_than_a_websocket_server_stops_the_run() -> None:
    def answer() -> None:
        taken, _ = web.accept()
        taken.recv(4_096)
        taken.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        taken.close()

    with socket.create_server(("127.0.0.1", 0)) as web:
        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(SystemUnreachable, match="HTTP 404"):
            MoshiServerSystem(f"ws://127.0.0.1:{web.getsockname()[1]}", BRISK).open(0)


@pytest.mark.parametrize("address", ["localhost:8998", "http://localhost:8998", "ws://", "ws://localhost:port"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=r"no (WebSocket )?address"):
        MoshiServerSystem(address)


def test_talks_of_one_process_with_one_server_wait_for_each_other() -> None:
    with moshi_peer() as (_, address):
        first = MoshiServerSystem(address, BRISK).open(0)
        with pytest.raises(PeerFailed, match="busy with another talk of ours"):
            MoshiServerSystem(address, BRISK._replace(queue=0.1)).open(0)
        threading.Timer(0.3, first.close).start()
        second = MoshiServerSystem(address, BRISK).open(0)
        assert second.step(FRAME_OF_SILENCE).audio.shape == (FRAME_SIZE,)
        second.close()
        second.close()


def test_a_token_goes_to_the_server_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUOLOGUE_SERVER_TOKEN", "hush-0123456789")
    with moshi_peer(["cuts"]) as (peer, address):
        system = MoshiServerSystem(f"{address}/api/chat?text_temperature=0.5", BRISK)
        run = run_in(tmp_path)
        drive(
            system, question(tmp_path, 2), tmp_path, run, FAST._replace(clock="real-time", jitter_limit=2.0, tail=0.1)
        )
    assert peer.authorizations == ["Bearer hush-0123456789"] * 2
    assert peer.paths == ["/api/chat?text_temperature=0.5"] * 2
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"hush" not in file.read_bytes()


@pytest.mark.skipif("DUOLOGUE_MOSHI_PYTHON" not in os.environ, reason="needs moshi 0.2.13, see peers/moshi_real.py")
def test_kyutais_own_server_holds_talks_with_sound_and_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [os.environ["DUOLOGUE_MOSHI_PYTHON"], str(ROOT / "tests" / "peers" / "moshi_real.py")]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([*command, str(tmp_path), str(port)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 180
        while not _listens(port):
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        system = MoshiServerSystem(f"ws://127.0.0.1:{port}", Patience(handshake=30.0))
        run = run_in(tmp_path)
        drive(system, questions(tmp_path, 2), tmp_path, run, LIVE)
    finally:
        server.kill()
        server.wait()
    for talk in run.read(Conversation):
        assert talk.reason is None
        agent, _ = run.read_audio(talk.recording)  # type: ignore[arg-type]
        assert edges(agent)[0] < 1.0
        assert len(talk.transcripts[0].words) >= 3
        assert talk.transcripts[0].words[-1].end <= talk.recording.duration + 0.5  # type: ignore[union-attr]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

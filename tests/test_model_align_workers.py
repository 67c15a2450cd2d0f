"""Several processes align what one aligns: the same gradients, figures, weights and checkpoints."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed import TCPStore

from align_builders import SMALL, pair
from builders import ROOT
from model.align.config import build
from model.align.data import Split, trunks
from model.align.journal import Journal
from model.align.trainer import Trainer
from model.align.workers import ALONE, Workers, device_of, workers
from model.lm import DuplexLM
from protocols.errors import InputError

torch.set_num_threads(1)
TIMED = {"pairs_per_second"}


LOSSES: dict[str, dict[str, Any]] = {"apart": {"streams": "T+A"}, "coupled": {"name": "aot"}}


def train(folder: Path, loss: dict[str, Any], group: Workers = ALONE) -> None:
    """Three steps over five talks, the last step of an epoch shorter than the others; its weights as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    optim = {"lr": 1e-3, "lr_depth": 1e-3, "accumulate": 4, "epochs": 2, "max_steps": 3}
    run = {"folder": str(folder / "run"), "eval_every": 1, "save_every": 1, "keep": 9}
    tree = {"model": {"base": "."}, "data": {"pairs": "."}, "run": run, "optim": optim, "loss": loss}
    some = [pair(f"{i}{x}", 6 + i, 3 + i % 2, 4, f"talk {i}", seed=i) for i in range(5) for x in "ab"[: 1 + i % 2]]
    held = trunks([pair(f"h{i}", 7, 4, 3, f"held {i}", seed=i) for i in range(3)], 8)
    lm = DuplexLM(SMALL, seed=3).double()
    made = Trainer(lm, build(tree, "test"), Split(trunks(some, 8), held), None, group)
    list(made.run())
    save_file({n: p.detach() for n, p in lm.named_parameters()}, folder / f"weights-{group.rank}.safetensors")


def in_processes(n: int, folder: Path) -> None:
    """`train` with each loss in n processes, started as torchrun starts them."""
    meeting = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun's: on a port that is free
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(meeting.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    places |= {"WORLD_SIZE": str(n), "OMP_NUM_THREADS": "1"}
    places |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            env={**os.environ, **places, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(n)
    ]
    said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * n, said


def test_two_processes_take_the_steps_of_one_that_does_twice_the_work(tmp_path: Path) -> None:
    in_processes(2, tmp_path / "two")
    for name, loss in LOSSES.items():
        train(tmp_path / "one" / name, loss)
        same(tmp_path / "one" / name, tmp_path / "two" / name)


def same(alone: Path, shared: Path) -> None:
    """Both trainings moved, and to the same place by the same figures; every process of the shared one holds it."""
    one = load_file(alone / "weights-0.safetensors")
    first, second = (load_file(shared / f"weights-{rank}.safetensors") for rank in (0, 1))
    start = DuplexLM(SMALL, seed=3).double()
    assert any((one[n] - p).abs().max() > 1e-4 for n, p in start.named_parameters())
    for name, weight in one.items():
        assert first[name].equal(second[name])
        torch.testing.assert_close(first[name], weight, rtol=0, atol=1e-9)
    lines = [Journal(folder / "run" / "metrics.jsonl").lines() for folder in (alone, shared)]
    assert [line["step"] for line in lines[1]] == [0, 1, 2, 3]
    for mine, ours in zip(*lines, strict=True):
        assert set(mine) == set(ours)
        for name in set(mine) - TIMED:
            assert ours[name] == pytest.approx(mine[name], abs=1e-5, rel=1e-4), name
    steps = {path.name for path in (shared / "run" / "checkpoints").iterdir()}
    assert steps == {"step-00000001", "step-00000002", "step-00000003"}


def test_alone_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with workers() as group:
        assert group == ALONE
        assert group.leads
        assert list(group.share([1, 2, 3])) == [1, 2, 3]
        assert group.gather("x") == ["x"]


def test_work_is_dealt_out_once() -> None:
    dealt = [Workers(rank, 3).share(range(8)) for rank in range(3)]
    assert sorted(x for share in dealt for x in share) == list(range(8))
    assert [Workers(rank, 3).leads for rank in range(3)] == [True, False, False]


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [device_of(name) for name in ("cuda", "cuda:1", "cpu")] == ["cuda:3", "cuda:1", "cpu"]
    monkeypatch.delenv("LOCAL_RANK")
    assert device_of("cuda") == "cuda"


def test_processes_that_do_not_know_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(InputError, match="start several processes with torchrun"), workers():
        pass


if __name__ == "__main__":
    with workers() as together:
        for which, told in LOSSES.items():
            train(Path(sys.argv[1]) / which, told, together)

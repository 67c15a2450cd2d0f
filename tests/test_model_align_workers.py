"""Several processes align what one aligns: the same gradients, figures, weights and checkpoints."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed import TCPStore

from align_builders import SMALL, pair
from builders import ROOT
from model.align.config import build
from model.align.data import Split, trunks
from model.align.journal import Journal
from model.align.lora import merged_weights
from model.align.start import start
from model.align.trainer import Trainer
from model.align.workers import ALONE, Workers, device_of, workers
from model.lm import DuplexLM
from protocols.errors import InputError

torch.set_num_threads(1)
TIMED = {"pairs_per_second"}


class Case(NamedTuple):
    loss: dict[str, Any]
    model: dict[str, Any] = {}
    shard: tuple[bool, ...] = (False,)  # of each part of a training that is gone on with after every step
    near: float = 1e-9


CASES = {
    "apart": Case({"streams": "T+A"}),
    "coupled": Case({"name": "aot"}),
    "sharded": Case({"streams": "T+A"}, shard=(True, False, True)),
    "sharded adapters": Case(
        {"name": "aot"}, {"adapter": "lora", "lora_rank": 4, "checkpointing": True}, shard=(False, True), near=1e-6
    ),
}


def train(folder: Path, case: Case, group: Workers = ALONE) -> None:
    """Three steps over five talks, the last step of an epoch shorter than the others; what comes out as a file."""
    for part, shard in enumerate(case.shard, 1):
        made = trainer(folder, case, group, shard and group != ALONE)
        made.checkpoints.save = slowly(made.checkpoints.save)  # type: ignore[method-assign]
        made.resume()
        list(made.run(until=part if part < len(case.shard) else None))
    found = merged_weights(made.whole_model())
    if group.leads or not shard:
        save_file(found, folder / f"weights-{group.rank}.safetensors")


def trainer(folder: Path, case: Case, group: Workers, shard: bool) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    optim = {"lr": 1e-3, "lr_depth": 1e-3, "accumulate": 4, "epochs": 2, "max_steps": 3}
    run = {"folder": str(folder / "run"), "eval_every": 1, "save_every": 1, "keep": 9, "probe_every": 3}
    model = {"base": ".", **case.model, "shard": shard}
    tree = {"model": model, "data": {"pairs": "."}, "run": run, "optim": optim, "loss": case.loss}
    some = [pair(f"{i}{x}", 6 + i, 3 + i % 2, 4, f"talk {i}", seed=i) for i in range(5) for x in "ab"[: 1 + i % 2]]
    held = trunks([pair(f"h{i}", 7, 4, 3, f"held {i}", seed=i) for i in range(3)], 8)
    lm = DuplexLM(SMALL, seed=3).double()
    return Trainer(lm, build(tree, "test"), Split(trunks(some, 8), held), weight, group)


def slowly(save: Callable[..., Path]) -> Callable[..., Path]:
    """The one process that writes is behind the others, who may be asked to go on before it is through."""

    def save_late(*told: Any) -> Path:
        time.sleep(0.3)
        return save(*told)

    return save_late


def weight(lm: DuplexLM, step: int) -> dict[str, float]:
    """A probe."""
    return {"weight": sum(float(x.double().abs().sum()) for x in merged_weights(lm).values())}


def in_processes(n: int, folder: Path) -> None:
    """`train` with each case in n processes, started as torchrun starts them."""
    meeting = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun's: on a port that is free
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(meeting.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    places |= {"WORLD_SIZE": str(n), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    places |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
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
    for name, case in CASES.items():
        train(tmp_path / "one" / name, case)
        same(tmp_path / "one" / name, tmp_path / "two" / name, case)


def same(alone: Path, shared: Path, case: Case) -> None:
    """Both trainings moved, and to the same place by the same figures; every process of the shared one holds it."""
    one = load_file(alone / "weights-0.safetensors")
    first, *others = (load_file(path) for path in sorted(shared.glob("weights-*")))
    assert len(others) == (not case.shard[-1])
    start = DuplexLM(SMALL, seed=3).double()
    assert any((one[n] - p).abs().max() > 1e-4 for n, p in start.named_parameters())
    for name, weight in one.items():
        assert all(first[name].equal(other[name]) for other in others)
        torch.testing.assert_close(first[name], weight, rtol=0, atol=case.near)
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


def test_with_sharded_weights_everybody_does_as_many_forwards() -> None:
    apart = [list(Workers(rank, 3).turns([*range(7)], 2)) for rank in range(3)]
    assert apart == [[([0, 3], True), ([6], True)], [([1, 4], True)], [([2, 5], True)]]
    together = [list(Workers(rank, 3, sharded=True).turns([*range(7)], 2)) for rank in range(3)]
    assert together == [apart[0], [*apart[1], ([0], False)], [*apart[2], ([0], False)]]


def test_there_is_nobody_to_shard_weights_with(tmp_path: Path) -> None:
    tree = {"model": {"base": "no such", "shard": True}, "data": {"pairs": "."}, "run": {"folder": str(tmp_path)}}
    with pytest.raises(InputError, match=r"model\.shard deals the model out .* with torchrun"):
        start(build(tree, "test"))
    assert not list(tmp_path.iterdir())


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
        for which, told in CASES.items():
            train(Path(sys.argv[1]) / which, told, together)

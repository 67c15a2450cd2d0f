"""The groups of tests that need something a machine may lack.

A test marked `needs("chromium")` is skipped, with the way to get it, where Chromium is missing. The groups named in
DUOLOGUE_REQUIRE (comma separated) must run: there a missing part fails the test, and a group of which no test
passed fails the session. Nor may a whole file be skipped there for a package that is missing.

A test marked `real_time` needs a machine that keeps time: a talk whose frames come late is void, as it should be, and
a program that was to be killed in its middle may be through. Where it fails, it is tried again, and said so.

Sums are computed by one thread each, here and in every command that a test starts: the threads of a small product wait
for each other in a busy loop, which on a busy machine takes many times as long as the product.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import importlib.util
import itertools
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from builders import DATA
from eval.words import offline_model

settings.register_profile("house", deadline=None, derandomize=True)  # a busy machine, or luck, is no failure
settings.register_profile("explore", deadline=None)  # --hypothesis-profile=explore: other examples each time
settings.load_profile("house")

TRIES_AGAIN = 2  # of a test in real time

REQUIRED = {name for name in os.environ.get("DUOLOGUE_REQUIRE", "").split(",") if name}


def _has_whisper() -> bool:
    try:
        import faster_whisper  # noqa: F401
    except ImportError:
        return False
    return offline_model() is not None


def _has(*packages: str) -> Callable[[], bool]:
    return lambda: all(importlib.util.find_spec(name) for name in packages)


def _has_postgresql() -> bool:
    if importlib.util.find_spec("psycopg") is None:
        return False
    return "DUOLOGUE_POSTGRESQL" in os.environ or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


GROUPS = {
    "chromium": (lambda: shutil.which("chromium") is not None, "apt-get install chromium"),
    "live": (_has("fastapi", "gradio", "uvicorn", "websockets", "playwright"), "pip install -e '.[test]'"),
    "espeak": (lambda: shutil.which("espeak-ng") is not None, "apt-get install espeak-ng"),
    "whisper": (_has_whisper, "pip install -e '.[offline]'"),
    "postgresql": (_has_postgresql, "apt-get install postgresql; pip install -e '.[postgresql]'"),
    "model": (_has("torch"), "pip install -e '.[model]'"),
    "pairs": (_has("pyarrow"), "pip install -e '.[pairs]'"),
    "openai": (_has("openai"), "pip install -e '.[openai]'"),
    "tensorboard": (_has("tensorboard"), "pip install -e '.[tensorboard]'"),
    "data": (lambda: (DATA / "llama-questions").is_dir(), "set DUOLOGUE_DATA to a folder that holds llama-questions"),
}
passed: dict[str, int] = {}


def pytest_configure(config: pytest.Config) -> None:
    unknown = REQUIRED - set(GROUPS)
    if unknown:
        raise pytest.UsageError(f"DUOLOGUE_REQUIRE names unknown groups: {', '.join(sorted(unknown))}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("real_time"):
            item.add_marker(pytest.mark.flaky(reruns=TRIES_AGAIN, reruns_delay=2))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[pytest.CollectReport]:
    report = yield
    if REQUIRED and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} must run: {report.longrepr}"
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        there, get = GROUPS[mark.args[0]]
        if not there():
            message = f"{mark.args[0]} is missing; get it with: {get}"
            pytest.fail(message) if mark.args[0] in REQUIRED else pytest.skip(message)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.when == "call" and report.passed:
        for mark in item.iter_markers("needs"):
            passed[mark.args[0]] = passed.get(mark.args[0], 0) + 1
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    partial = session.config.option.keyword or session.config.option.markexpr or session.config.args != ["tests"]
    empty = sorted(name for name in REQUIRED if not passed.get(name))
    if empty and not partial:
        print(f"\nno test of a required group passed: {', '.join(empty)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new folder for each test; thousands beside the others would make every new `tmp_path` a long search."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_home(_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's home."""
    home = next(_homes)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Commands started by a test hear SIGINT, also where this process does not.

    A shell without job control starts `pytest &` with SIGINT ignored, and a child inherits that: an interrupt sent to
    it would be lost. (The product keeps to the custom: what its parent ignores, as under nohup, it ignores.)
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)

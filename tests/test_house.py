"""The rules of the house that a tool can check."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from builders import ROOT

ROOMS = ("app", "eval", "protocols", "model", "analysis")


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_is_imported_from_this_checkout(room: str) -> None:
    assert Path(import_module(room).__file__ or "").parent == ROOT / room


def test_reading_and_scoring_load_neither_torch_nor_gradio() -> None:
    code = (
        "import sys, pkgutil, importlib, protocols, eval, analysis\n"
        "for room in (protocols, eval, analysis):\n"
        "    for m in pkgutil.walk_packages(room.__path__, room.__name__ + '.'): importlib.import_module(m.name)\n"
        "heavy = ('torch', 'gradio', 'fastapi', 'faster_whisper', 'openai', 'transformers')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, app.cli\nprint([m for m in ('numpy', 'rich', 'scipy', 'plotly') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_the_demo_runs_without_the_extras_it_does_not_install() -> None:
    """`make demo` installs offline, model and pairs; whatever it and the pair builder import must do with these."""
    others = ("alembic", "argon2", "fastapi", "fsspec", "gradio", "httpx", "hypothesis", "openai", "pydantic", "pytest",
              "sentencepiece", "sklearn", "sphn", "sqlalchemy", "uvicorn", "websockets")  # fmt: skip
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({others}))\n"
        "import app.loop, app.demo, app.compare, app.pairs, app.pairs_cli, app.pairs_price, app.pairs_show"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_modules_keep_to_one_idea() -> None:
    """300 lines are the most a module of a room may have."""
    long = [
        f"{path.relative_to(ROOT)}: {n}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if (n := len(path.read_text(encoding="utf-8").splitlines())) > 300
    ]
    assert long == []


def test_the_default_install_stays_small() -> None:
    """Nothing heavy is a plain dependency."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {dependency.split(">")[0].split("=")[0].split("[")[0] for dependency in project["dependencies"]}
    assert not names & {"torch", "gradio", "faster-whisper", "onnxruntime", "transformers", "moshi", "openai"}

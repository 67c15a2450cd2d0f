"""`duologue study` from the command line."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

pytest.importorskip("sqlalchemy", reason="sqlalchemy is missing; get it with: pip install -e '.[live]'")
pytest.importorskip("fastapi", reason="fastapi is missing; get it with: pip install -e '.[live]'")

from app.cli import cli
from app.study.reading import first_look
from builders import ROOT
from protocols.errors import InputError
from study_house import SMALL
from study_house import database as database_of
from study_house import study as study_from_small

pytestmark = pytest.mark.real_time


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["study", *words], catch_exceptions=False)


def test_a_new_study_is_a_right_one_and_is_never_written_over(tmp_path: Path) -> None:
    file = str(tmp_path / "my.yaml")
    run("new", file)
    said = run("check", file)
    assert "a paired study of 2 arms; 4 talks per rater" in said.output
    with pytest.raises(InputError, match="is there already"):
        run("new", file)
    found = json.loads(run("check", file, "--json").stdout)
    assert (found["name"], len(found["talks"])) == ("base-or-aligned", 4)


def test_a_moment_that_there_is_not_is_found_by_check(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump({**SMALL, "moments": ["nicer"]}))
    with pytest.raises(InputError, match="did you mean 'nice'"):
        run("check", str(file))


def test_export_invite_and_forget_need_a_study_that_was_served(tmp_path: Path) -> None:
    for words in (["export", str(tmp_path)], ["invite", str(tmp_path)], ["forget", str(tmp_path), "r-1", "--yes"]):
        with pytest.raises(InputError, match="holds no study"):
            run(*words)


def test_an_empty_study_is_exported_and_invited_to(tmp_path: Path) -> None:
    database_of(tmp_path / "small", study_from_small()).close()
    folder = str(tmp_path / "small")
    said = json.loads(run("export", folder, "--json").stdout)
    assert (said["raters"], Path(said["export"], "manifest.json").is_file()) == (0, True)
    links = json.loads(run("invite", folder, "-n", "3", "--at", "https://talk.example", "--json").stdout)["links"]
    assert len(set(links)) == 3
    assert all(link.startswith("https://talk.example/join/") for link in links)


def test_the_first_look_is_a_pair_where_there_is_an_aligned_model_and_one_arm_where_there_is_none() -> None:
    assert (first_look(lambda name: True).design, len(first_look(lambda name: True).arms)) == ("paired", 2)
    alone = first_look(lambda name: name == "tiny:base")
    assert (alone.design, list(alone.arms)) == ("between", ["base"])


def test_serve_prints_links_that_open_and_the_password_once(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump({**SMALL, "arms": {"base": {"system": "echo"}, "aligned": {"system": "silence"}}}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "app.cli", "serve", str(file), "--port", str(port), "--out", str(tmp_path / "out")]
    said = []
    for _ in range(2):
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line.split()[:2])
                if "stop with Ctrl-C" in line:
                    break
            said.append({words[0]: words[1] for words in lines})
            if len(said) == 1:
                _opens(said[0]["rater"], process)
            process.send_signal(signal.SIGTERM)
    assert said[0]["researcher"] == f"http://127.0.0.1:{port}/researcher"
    assert "password" in said[0]
    assert "password" not in said[1]
    assert said[0]["password"].encode() not in (tmp_path / "out" / "study.sqlite").read_bytes()


def _opens(link: str, served: subprocess.Popen[str]) -> None:
    """The address answers while its server lives, with the page of consent."""
    while served.poll() is None:
        try:
            with urllib.request.urlopen(link) as page:
                assert b"Your voice is recorded." in page.read()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{link} does not open")

"""`duologue plan` for people, machines and mistaken input."""

import json

import pytest
from click.testing import CliRunner

from app.cli import cli
from protocols.errors import InputError


def run(*options: str) -> str:
    done = CliRunner().invoke(cli, ["plan", *options])
    assert done.exit_code == 0
    return done.stdout


def test_a_plan_gives_power_and_what_would_be_found() -> None:
    sizes = ["--raters", "20", "--raters", "60", "--talks", "3", "--items", "300"]
    made = json.loads(run(*sizes, "--studies", "400", "--json"))
    small, large = made["ratings"]
    assert small["power"] < large["power"]
    assert small["detectable_shift"] > large["detectable_shift"]
    assert made["items"][0]["detectable"]["0.1"] == pytest.approx(0.051, abs=0.001)


def test_the_same_seed_gives_the_same_plan() -> None:
    options = ["--raters", "20", "--talks", "2", "--studies", "200"]
    assert run(*options) == run(*options)
    assert "points" in run(*options)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--shares 1,x", "two or more positive numbers"),
        ("--shares 0.5", "two or more positive numbers"),
        ("--talks 1 --by-duration -0.2 --by-duration 0.2", "cannot be spread"),
    ],
)
def test_what_cannot_be_planned_is_said(options: str, why: str) -> None:
    done = CliRunner().invoke(cli, ["plan", "--studies", "100", *options.split()])
    assert isinstance(done.exception, InputError)
    assert why in str(done.exception)

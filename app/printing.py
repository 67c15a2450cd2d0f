"""A page of ours as PDF or PNG, drawn by a Chromium that is installed; nothing is loaded from anywhere.

A PDF is the page's print form (light, figures as wide as the paper, every table unfolded). A PNG is the page as on a
screen, from top to bottom. The browser gets a profile of its own and is ended after PATIENCE seconds.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from protocols.errors import InputError, StoreError

Form = Literal["pdf", "png"]
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
FLAGS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars",
    "--virtual-time-budget=10000",
)  # fmt: skip
WIDE, TALLEST = 1120, 30_000  # pixels of a PNG
PATIENCE = 300.0
MEASURE = (
    "<script>addEventListener('load', () => setTimeout(() => "
    "document.documentElement.dataset.height = document.documentElement.scrollHeight, 500));</script>"
)


def browser() -> str:
    """The program; BROWSER_PATH names another one. InputError where there is none."""
    named = os.environ.get("BROWSER_PATH")
    found = next((path for name in ([named] if named else PROGRAMS) if (path := shutil.which(name))), None)
    if found is None:
        what = f"{named} (BROWSER_PATH)" if named else "Chromium"
        raise InputError(
            f"PDF and PNG need a browser, and {what} is not installed; get it with: apt-get install chromium"
        )
    return found


def print_page(page: Path, forms: Sequence[Form], program: str) -> list[Path]:
    """Draw a page into files beside it; their paths. StoreError where the browser draws nothing."""
    return [_draw(page, form, program) for form in dict.fromkeys(forms)]


def _draw(page: Path, form: Form, program: str) -> Path:
    out = page.with_suffix(f".{form}")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / out.name
        if form == "pdf":
            said = _run(program, ["--no-pdf-header-footer", f"--print-to-pdf={made}"], page, folder)
        else:
            size = f"--window-size={WIDE},{_height(page, program, folder)}"
            said = _run(program, [size, f"--screenshot={made}"], page, folder)
        if not made.is_file() or not made.stat().st_size:
            raise StoreError(f"{program} drew no {form.upper()} of {page}: {said.strip()[-200:] or 'it said nothing'}")
        try:
            part = out.with_name(out.name + ".part")
            shutil.copyfile(made, part)
            part.replace(out)
        except OSError as error:
            raise StoreError(f"cannot write {out}: {error.strerror}") from error
    return out


def _height(page: Path, program: str, folder: str) -> int:
    """Pixels the page needs at its width."""
    measured = Path(folder) / "measured.html"
    measured.write_text(page.read_text(encoding="utf-8") + MEASURE, encoding="utf-8")
    text = _run(program, [f"--window-size={WIDE},1000", "--dump-dom"], measured, folder)
    found = re.search(r'<html[^>]*data-height="(\d+)"', text)
    if found is None:
        raise StoreError(f"{program} could not measure {page}")
    return min(int(found[1]), TALLEST)


def _run(program: str, flags: Sequence[str], page: Path, folder: str) -> str:
    """What the browser printed; its errors where it printed nothing."""
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # root has no sandbox to enter
    command = [program, *FLAGS, *root, f"--user-data-dir={folder}/profile", *flags, page.resolve().as_uri()]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise StoreError(f"{program} did not draw {page} within {PATIENCE:.0f} s") from error
    except OSError as error:
        raise StoreError(f"cannot start {program}: {error.strerror}") from error
    return (done.stdout or done.stderr).decode("utf-8", "replace")

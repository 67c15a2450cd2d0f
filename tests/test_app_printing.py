"""The report as PDF and PNG: drawn by the browser that is installed, or one clear error."""

import struct
from pathlib import Path

import pytest

from app import printing
from app.printing import browser, print_page
from protocols.errors import InputError, StoreError

PAGE = "<!doctype html><html lang='en'><body style='margin:0'><div style='height:2500px'>Hello</div></body></html>"


@pytest.mark.needs("chromium")
def test_a_page_becomes_a_pdf_and_a_whole_picture(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE)
    pdf, png = print_page(page, ["pdf", "png", "pdf"], browser())
    assert (pdf.name, png.name) == ("page.pdf", "page.png")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert struct.unpack(">4s2I", png.read_bytes()[12:24]) == (b"IHDR", printing.WIDE, 2500)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.html", "page.pdf", "page.png"]


def test_without_a_browser_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    with pytest.raises(InputError, match="PDF and PNG need a browser"):
        browser()
    monkeypatch.setenv("BROWSER_PATH", "/nowhere/chromium")
    with pytest.raises(InputError, match=r"/nowhere/chromium \(BROWSER_PATH\) is not installed"):
        browser()


def test_a_browser_that_draws_nothing_leaves_nothing(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE)
    with pytest.raises(StoreError, match="drew no PDF"):
        print_page(page, ["pdf"], "/bin/true")
    with pytest.raises(StoreError, match="could not measure"):
        print_page(page, ["png"], "/bin/true")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]

"""Recordings that go to another place when their talk is over, and come back to whoever reads them."""

# ruff: noqa: E402 (what is imported below may be missing)

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

fsspec = pytest.importorskip("fsspec", reason="fsspec is missing; get it with: pip install -e '.[live]'")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is missing; get it with: pip install -e '.[live]'")

from test_app_study_export import write_talk

from app.live import away
from app.live.away import FILE, Mover, check_url, delete, here, send
from app.live.folder import read_talk
from protocols.base import to_json
from protocols.errors import InputError, StoreError

TALK = "0" * 24


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """The folder of a finished talk."""
    write_talk(tmp_path / "talks", TALK)
    return tmp_path / "talks" / TALK


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield f"file://{tmp_path}/far away" if request.param == "file" else "memory://far/away"
    fsspec.filesystem("memory").store.clear()


def test_a_talks_sound_goes_away_and_comes_back_to_the_bit(talk: Path, url: str) -> None:
    before = (talk / "heard.flac").read_bytes()
    assert here(talk / "heard.flac").read_bytes() == before
    assert send(talk, url)
    assert not send(talk, url)  # it is there
    assert sorted(path.name for path in talk.iterdir()) == [FILE, "talk.json"]
    assert here(talk / "heard.flac").read_bytes() == before
    system, place = fsspec.core.url_to_fs(url)
    assert system.find(place) == [f"{place}/{TALK}/heard.flac"]
    delete(talk)
    delete(talk)
    assert system.find(place) == []


def test_what_cannot_be_sent_stays_and_is_sent_later(
    talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(away, "AGAIN", 0.02)
    place = tmp_path / "place"
    place.write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot be sent"):
        send(talk, f"file://{place}")
    assert (talk / "heard.flac").exists()
    mover = Mover(talk.parent, f"file://{place}")
    mover.start()
    place.unlink()
    while not (talk / FILE).exists():
        time.sleep(0.005)
    mover.stop()
    assert (place / TALK / "heard.flac").exists()
    assert not (talk / "heard.flac").exists()


def test_sound_that_was_changed_or_lost_elsewhere_is_an_error_and_never_other_sound(talk: Path, tmp_path: Path) -> None:
    send(talk, f"file://{tmp_path}/far")
    there = tmp_path / "far" / TALK
    (there / "heard.flac").write_bytes(b"other sound")
    with pytest.raises(StoreError, match="not what was sent"):
        here(talk / "heard.flac")
    shutil.rmtree(there)
    with pytest.raises(StoreError, match="cannot bring"):
        here(talk / "heard.flac")
    assert not (talk / "heard.flac").exists()


def test_a_talk_that_goes_on_is_not_sent(talk: Path, tmp_path: Path) -> None:
    (talk / "talk.json").write_bytes(to_json(msgspec.structs.replace(read_talk(talk), status="live")))
    assert not send(talk, f"file://{tmp_path}/far")
    assert (talk / "heard.flac").exists()


@pytest.mark.parametrize(
    ("bad", "words"), [("nowhere://x", "no place for recordings"), ("ftp://me:secret@host/x", "password")]
)
def test_a_place_that_cannot_be_used_is_one_clear_error_without_the_password(bad: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        check_url(bad)
    assert "secret" not in str(caught.value)

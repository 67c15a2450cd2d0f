"""The gate hears a talk as it goes on what the detector hears of the whole."""

import numpy as np
import pytest

from builders import spoken, tone
from eval.activity import SileroActivity
from eval.gate import SileroGate
from protocols.contracts import Edge
from protocols.duplex import FRAME_SIZE, SAMPLE_RATE


def heard(audio: np.ndarray, size: int = FRAME_SIZE) -> list[tuple[Edge, float]]:
    """The edges, and when each was known."""
    gate = SileroGate()
    return [
        (edge, (start + size) / SAMPLE_RATE)
        for start in range(0, len(audio), size)
        for edge in gate.push(audio[start : start + size])
    ]


@pytest.fixture(scope="module")
def talk() -> np.ndarray:
    """Two spoken questions with two seconds of silence around them."""
    rest = np.zeros(2 * SAMPLE_RATE, np.float32)
    return np.concatenate([rest, spoken("q01.flac")[0], rest, spoken("q02.flac")[0], rest])


@pytest.fixture(scope="module")
def by_frames(talk: np.ndarray) -> list[tuple[Edge, float]]:
    return heard(talk)


def test_edges_are_those_of_the_detector(talk: np.ndarray, by_frames: list[tuple[Edge, float]]) -> None:
    spans = SileroActivity().spans(talk, SAMPLE_RATE)
    edges = [edge for edge, _ in by_frames]
    assert [edge.kind for edge in edges] == ["start", "end"] * len(spans)
    for i, span in enumerate(spans):
        assert edges[2 * i].at == pytest.approx(span.start, abs=0.1)  # Silero's own grid
        assert edges[2 * i + 1].at == pytest.approx(span.end, abs=0.02)


def test_edges_are_known_soon_and_never_before_they_were(by_frames: list[tuple[Edge, float]]) -> None:
    for edge, known in by_frames:
        assert edge.at < known <= edge.at + 0.45


@pytest.mark.parametrize("size", [1_000, 48_000])
def test_edges_do_not_depend_on_how_the_sound_comes(
    talk: np.ndarray, by_frames: list[tuple[Edge, float]], size: int
) -> None:
    for (one, _), (other, _) in zip(heard(talk, size), by_frames, strict=True):
        assert one.kind == other.kind
        assert one.at == pytest.approx(other.at, abs=0.02)


def test_silence_and_tones_are_no_speech() -> None:
    assert heard(np.zeros(5 * SAMPLE_RATE, np.float32)) == []
    assert heard(tone(3.0)) == []

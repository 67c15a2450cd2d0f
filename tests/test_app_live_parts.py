"""The parts of the call that need no socket: tokens, the waiting line, echo, the clock, and the wire format."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("itsdangerous", reason="itsdangerous is missing; get it with: pip install -e '.[live]'")

from app.live import wire
from app.live.admission import Admission
from app.live.clock import FrameClock, to_float
from app.live.echo import echo_return
from app.live.robot import Loudspeaker
from app.live.tokens import Pass, Signer, TokenRefused, key_in, new_talk_id
from protocols.duplex import SystemInfo
from protocols.encoding import to_pcm16
from protocols.errors import InputError

RATE = 24_000
samples = st.integers(-32_767, 32_767)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def noise(n: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


# --- tokens --------------------------------------------------------------------------------------------------------


def test_a_token_says_what_was_signed_and_nothing_else() -> None:
    signer = Signer(b"k" * 32)
    right = Pass(new_talk_id(), 3)
    assert signer.read(signer.sign(right)) == right


@given(st.text(max_size=300))
def test_no_text_is_a_token(text: str) -> None:
    with pytest.raises(TokenRefused):
        Signer(b"k" * 32).read(text)


@given(st.data())
def test_a_token_with_a_changed_letter_is_refused(data: st.DataObject) -> None:
    signer = Signer(b"k" * 32)
    token = signer.sign(Pass("0" * 24, 0))
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from(sorted(set(LETTERS) - {token[at]})))
    with pytest.raises(TokenRefused):
        signer.read(token[:at] + letter + token[at + 1 :])


def test_a_signature_has_one_spelling() -> None:
    """The last letter of 20 bytes in base64 has two bits that say nothing."""
    signer = Signer(b"k" * 32)
    token = signer.sign(Pass("0" * 24, 0))
    for letter in set(LETTERS) - {token[-1]}:
        with pytest.raises(TokenRefused):
            signer.read(token[:-1] + letter)


def test_the_key_outlives_a_restart_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    assert key_in(tmp_path / "a") == key_in(tmp_path / "a") != key_in(tmp_path / "b")
    assert (tmp_path / "a" / "key").stat().st_mode & 0o077 == 0


# --- the waiting line ----------------------------------------------------------------------------------------------


class Visitor:
    def __init__(self) -> None:
        self.told: list[int | str] = []

    def wait_at(self, position: int) -> None:
        self.told.append(position)

    def move_away(self) -> None:
        self.told.append("moved")


def test_the_line_is_served_in_order_and_everyone_learns_their_position() -> None:
    admission = Admission(slots=1)
    visitors = [Visitor(), Visitor(), Visitor()]
    places = [admission.enter(visitor) for visitor in visitors]
    assert [p.admitted.is_set() for p in places if p] == [True, False, False]
    for place in places[:1] * 2:  # leaving twice is leaving once
        assert place is not None
        admission.leave(place)
    assert [v.told for v in visitors] == [[], [1], [2, 1]]
    assert places[1] is not None
    assert places[1].admitted.is_set()
    assert (admission.inside, admission.waiting) == (1, 1)


def test_a_second_tab_takes_a_place_over_where_it_is() -> None:
    admission = Admission(slots=1)
    first, old, new, last = (Visitor() for _ in range(4))
    inside, place, _ = admission.enter(first), admission.enter(old), admission.enter(last)
    assert inside is not None
    assert place is not None
    admission.hand_over(place, new)
    assert (old.told, new.told, last.told) == ([1, "moved"], [1], [2])
    admission.leave(inside)
    assert place.admitted.is_set()


def test_a_full_line_takes_nobody() -> None:
    admission = Admission(slots=1, longest_line=1)
    assert [admission.enter(Visitor()) is None for _ in range(3)] == [False, False, True]


# --- echo ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level_db", [-6.0, -20.0, -30.0])
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.35])
def test_a_planted_echo_is_found_with_its_level_and_delay(level_db: float, delay: float) -> None:
    heard = noise(4 * RATE)
    at = round(delay * RATE)
    mic = noise(4 * RATE, 1, 0.02)  # the person and the room
    mic[at:] += 10 ** (level_db / 20) * heard[: len(heard) - at]
    echo = echo_return(heard, mic, RATE)
    assert echo.delay == pytest.approx(delay)
    assert echo.level_db == pytest.approx(level_db, abs=0.6)


def test_a_microphone_that_hears_only_the_person_has_no_echo() -> None:
    assert echo_return(noise(4 * RATE), noise(4 * RATE, 1), RATE).level_db is None


def test_an_agent_that_repeats_the_person_is_no_echo() -> None:
    mic = noise(4 * RATE)
    heard = np.concatenate([np.zeros(4_000, np.float32), mic[:-4_000]])
    assert echo_return(heard, mic, RATE).level_db is None


def test_without_sound_there_is_a_reason_instead_of_an_echo() -> None:
    echo = echo_return(np.zeros(RATE, np.float32), noise(RATE), RATE)
    assert (echo.level_db, echo.delay) == (None, None)
    assert "too little" in (echo.reason or "")


# --- the clock -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 79), st.sampled_from([480, 960]))
def test_frames_are_complete_shortly_before_their_tick(phase_ms: int, packet: int) -> None:
    """Whatever the page's phase against the schedule, a frame waits less than a packet and a margin."""

    def until_tick(moment: float) -> float:
        return 0.08 - moment % 0.08

    clock = FrameClock(SystemInfo("x", "1"), RATE, until_tick)
    complete = []
    for k in range(60):
        arrived = phase_ms / 1e3 + (k + 1) * packet / RATE
        if clock.push(np.ones(packet, np.int16), k * packet, arrived):
            complete.append(arrived)
    assert len(complete) >= 5
    waits = [until_tick(moment) for moment in complete]
    assert max(waits) < 0.0151 + packet / RATE
    assert min(waits) > 0.0149
    assert clock.skipped % packet == 0


@given(st.lists(samples, min_size=1, max_size=50))
def test_sixteen_bits_survive_the_way_to_the_system_and_back(values: list[int]) -> None:
    pcm = np.array(values, np.int16)
    assert np.array_equal(to_pcm16(to_float(pcm)), pcm)


# --- wire and loudspeaker ------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1))
def test_a_packet_is_read_as_it_was_packed(number: int) -> None:
    mic = np.random.default_rng(number).integers(-32_768, 32_767, 480).astype(np.int16)
    packet = wire.Packet(number, 1, 2, 3, mic, mic[::-1].copy())
    read = wire.read_packet(wire.pack_packet(packet), 480)
    assert read[:4] == packet[:4]
    assert np.array_equal(read.mic, packet.mic)
    assert np.array_equal(read.heard, packet.heard)


@pytest.mark.parametrize(
    "text", ['{"type":"mark","sample":-1,"label":"x"}', '{"type":"ping","at":"now"}', '{"type":"end","x":1}']
)
def test_a_message_with_a_wrong_field_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        wire.read_said(text)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=20))
def test_the_loudspeaker_plays_every_sample_once_and_in_order(asks: list[int]) -> None:
    speaker = Loudspeaker(prebuffer=100)
    agent = np.arange(1, 4_001, dtype=np.int16)
    for k in range(4):
        speaker.arrive(wire.AgentFrame(k, k * 1_000, agent[k * 1_000 : (k + 1) * 1_000]))
    played = np.concatenate([speaker.play(n) for n in asks])
    sounding = played[played > 0]
    assert np.array_equal(sounding, agent[: len(sounding)])
    assert speaker.position == len(sounding)

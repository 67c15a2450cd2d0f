import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.codec import Codes, decode, encode
from model.tiny.codec import SHAPES, WEIGHTS, TinyCodec, load_codec
from model.tiny.features import BANDS, FLOOR, HOP, MEL_FILTERS, N_FEATURES, PITCH_WEIGHT, WINDOW, Features
from model.tiny.pitch import NEUTRAL, PitchTracker
from model.tiny.train_speech import Cast
from model.tiny.train_texts import sentences
from model.tiny.vocoder import AXES, VOCODER_SHAPES, Vocoder, noise_loop, pulses
from model.tiny.weights import FORMAT, read_weights
from protocols.duplex import FRAME_SIZE, SAMPLE_RATE, Audio
from protocols.errors import InputError

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def codec() -> TinyCodec:
    return load_codec()


def hum(seconds: float, seed: int = 0) -> Audio:
    """Something like speech, [n]: pulses of a wandering pitch in syllables, a little noise, pauses of zeros."""
    rng = np.random.default_rng(seed)
    n = round(seconds * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    f0 = 130 * np.exp(0.3 * np.sin(2 * np.pi * 0.7 * t + rng.uniform(0, 6)))
    phase = 2 * np.pi * np.cumsum(f0) / SAMPLE_RATE
    tones = sum(np.sin(k * phase + k) / k * (1 + np.cos(k * 1.3 + 9 * t)) for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 2.3 * t), 0, None) ** 0.5
    return (0.06 * syllables * (tones + 0.05 * rng.standard_normal(n))).astype(np.float32)


def frames_of(audio: Audio) -> Audio:
    """[T, FRAME_SIZE]"""
    return audio[: len(audio) // FRAME_SIZE * FRAME_SIZE].reshape(-1, FRAME_SIZE)


def on(*rows: bool) -> np.ndarray:
    return np.array(rows, np.bool_)


def test_a_talk_heard_live_equals_the_whole_for_any_cut_of_its_end(codec: TinyCodec) -> None:
    """Strictly causal: a code does not change when the sound goes on differently."""
    audio = hum(3)
    whole = encode(codec, audio)
    for cut in (1, 7, 20):
        changed = audio.copy()
        changed[cut * FRAME_SIZE :] = hum(3, seed=9)[cut * FRAME_SIZE :]
        assert (encode(codec, changed)[:, :cut] == whole[:, :cut]).all()


def played(codec: TinyCodec, talks: list[Audio], seed: int) -> tuple[list[Codes], list[Audio]]:
    """Every talk coded and spoken in one batch, in which rows pause at random and start with a used, reset memory."""
    rng = np.random.default_rng(seed)
    batch = len(talks)
    encoder, decoder = codec.encoder(batch), codec.decoder(batch)
    dirt = rng.uniform(-0.5, 0.5, (batch, FRAME_SIZE)).astype(np.float32)
    for _ in range(3):
        decoder.push(encoder.push(dirt, np.ones(batch, np.bool_)), np.ones(batch, np.bool_))
    for row in rng.permutation(batch):
        encoder.reset(np.arange(batch) == row)
        decoder.reset(np.arange(batch) == row)
    at = np.zeros(batch, int)
    codes: list[list[Codes]] = [[] for _ in talks]
    audio: list[list[Audio]] = [[] for _ in talks]
    while any(at[b] < len(frames_of(talks[b])) for b in range(batch)):
        active = np.array([at[b] < len(frames_of(talks[b])) and rng.random() < 0.7 for b in range(batch)])
        frames = rng.uniform(-1, 1, (batch, FRAME_SIZE)).astype(np.float32)  # what a paused row is given is not heard
        for b in np.flatnonzero(active):
            frames[b] = frames_of(talks[b])[at[b]]
        coded = encoder.push(frames, active)
        spoken = decoder.push(coded, active)
        assert not coded[~active].any()
        assert not spoken[~active].any()
        for b in np.flatnonzero(active):
            codes[b].append(coded[b])
            audio[b].append(spoken[b])
        at += active
    return [np.array(c).T for c in codes], [np.concatenate(a) for a in audio]


@given(seed=SEEDS, batch=st.integers(1, 5))
@settings(max_examples=12, deadline=None)
def test_a_row_keeps_its_bits_whatever_its_neighbours_do(codec: TinyCodec, seed: int, batch: int) -> None:
    talks = [hum(0.4 + 0.3 * b, seed=seed % 1000 + b) for b in range(batch)]
    codes, audio = played(codec, talks, seed)
    for b, talk in enumerate(talks):
        alone = encode(codec, frames_of(talk).ravel())
        assert (codes[b] == alone).all()
        assert (audio[b][FRAME_SIZE:] == decode(codec, alone)[:-FRAME_SIZE]).all()


def test_whole_sequences_and_streams_agree_on_edges(codec: TinyCodec) -> None:
    assert encode(codec, np.zeros(0, np.float32)).shape == (8, 0)
    assert decode(codec, np.zeros((8, 0), np.int16)).shape == (0,)
    assert encode(codec, np.zeros(1, np.float32)).shape == (8, 1)
    assert encode(codec, hum(1)).dtype == np.int16
    assert decode(codec, encode(codec, hum(1))).shape == (13 * FRAME_SIZE,)
    assert decode(codec, encode(codec, hum(1))).dtype == np.float32


def test_the_same_sound_gives_the_same_codes_and_the_same_voice(codec: TinyCodec, tmp_path: Path) -> None:
    fresh = load_codec(shutil.copy(WEIGHTS, tmp_path / "copy"))
    codes = encode(codec, hum(2))
    assert (codes == encode(fresh, hum(2))).all()
    assert (decode(codec, codes) == decode(fresh, codes)).all()
    assert len(np.unique(codes[0])) > 3


def test_silence_is_the_code_zero_and_decodes_to_silence(codec: TinyCodec) -> None:
    assert not encode(codec, np.zeros(SAMPLE_RATE, np.float32)).any()
    assert not decode(codec, np.zeros((8, 20), np.int16)).any()
    assert not codec.silence.any()


def test_silence_forgets_who_spoke_before(codec: TinyCodec) -> None:
    quiet = np.zeros(20 * FRAME_SIZE, np.float32)
    codes = encode(codec, np.concatenate([frames_of(hum(2)).ravel(), quiet]))
    assert codes[:, :20].any()
    assert not codes[:, -18:].any()
    spoken = decode(codec, codes)
    assert np.abs(spoken).max() > 0.01
    assert not spoken[-16 * FRAME_SIZE :].any()


def test_any_codes_give_a_bounded_sound(codec: TinyCodec) -> None:
    codes = np.random.default_rng(0).integers(0, codec.card, (8, 40)).astype(np.int16)
    spoken = decode(codec, codes)
    assert np.isfinite(spoken).all()
    assert np.abs(spoken).max() < 4


def test_what_is_decoded_is_in_step_with_what_was_said(codec: TinyCodec) -> None:
    """The stated delay is the true one: envelopes agree best at a shift of at most 8 ms."""
    audio = hum(4)
    spoken = decode(codec, encode(codec, audio))
    hop = SAMPLE_RATE // 500  # 2 ms
    n = len(audio) // hop

    def envelope(x: Audio) -> np.ndarray:
        power = np.square(x[: n * hop]).reshape(n, hop).mean(axis=1)
        smooth = np.sqrt(np.convolve(power, np.hanning(15), "same"))
        return smooth - smooth.mean()

    shifts = np.arange(-60, 61)
    a, b = envelope(audio), envelope(spoken)
    match = [np.dot(a[60:-60], np.roll(b, -s)[60:-60]) for s in shifts]
    assert abs(int(shifts[int(np.argmax(match))])) <= 4
    stream = codec.decoder(1)
    live = [stream.push(column[None], on(True))[0] for column in encode(codec, audio).T]
    assert codec.delay_frames == 1
    assert (np.concatenate(live)[FRAME_SIZE:] == spoken[:-FRAME_SIZE]).all()


def test_what_is_heard_frame_by_frame_is_what_a_whole_analysis_hears() -> None:
    """Against the definition: windows of 768 samples that end with every hop, and one search for all of the pitch."""
    audio = frames_of(hum(2)).ravel()
    features = Features()
    state = features.start(1)
    live = np.concatenate([features.push(state, frame[None])[0] for frame in frames_of(audio)])
    padded = np.concatenate([np.zeros(WINDOW - HOP, np.float32), audio])
    spans = np.array([padded[i * HOP : i * HOP + WINDOW] for i in range(len(audio) // HOP)], np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    bands = np.maximum(np.abs(np.fft.rfft(spans * hann)) @ MEL_FILTERS.T, FLOOR)
    assert np.abs(live[:, :BANDS] - np.log(bands)).max() < 1e-3
    silent = (bands == FLOOR).all(axis=1)[None]
    ln_f0 = features.tracker.push(features.tracker.start(1), audio[None].astype(np.float64), silent)[0]
    assert np.abs(live[:, BANDS] / PITCH_WEIGHT + NEUTRAL - ln_f0).max() < 1e-5


def test_the_pitch_of_a_voice_is_found_and_held() -> None:
    tracker = PitchTracker()
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tones = 0.1 * sum(np.sin(2 * np.pi * 150 * k * t) for k in range(1, 8))
    audio = np.concatenate([tones, np.zeros(SAMPLE_RATE // 2)])[None]
    silent = np.zeros((1, audio.shape[1] // 192), np.bool_)
    f0 = np.exp(tracker.push(tracker.start(1), audio, silent)[0])
    assert np.abs(f0[15:125] / 150 - 1).max() < 0.01
    assert np.abs(f0[135:145] / 150 - 1).max() < 0.05  # held
    assert f0[-1] == pytest.approx(120)  # forgotten


@pytest.mark.parametrize(
    ("frames", "active"),
    [
        (np.zeros((2, FRAME_SIZE)), on(True, True)),
        (np.zeros((3, FRAME_SIZE), np.float32), on(True, True)),
        (np.zeros((2, 1280), np.float32), on(True, True)),
        (np.full((2, FRAME_SIZE), np.nan, np.float32), on(True, True)),
        (np.full((2, FRAME_SIZE), np.inf, np.float32), on(False, True)),
        (np.zeros((2, FRAME_SIZE), np.float32), on(True)),
        (np.zeros((2, FRAME_SIZE), np.float32), np.ones(2)),
        ([[0.0]], on(True, True)),
    ],
)
def test_an_encoder_refuses_what_is_no_sound_and_goes_on(codec: TinyCodec, frames: Audio, active: np.ndarray) -> None:
    encoder = codec.encoder(2)
    with pytest.raises(InputError, match=r"float32|not numbers|mask"):
        encoder.push(frames, active)
    good = np.tile(frames_of(hum(0.5))[1], (2, 1))
    assert (encoder.push(good, on(True, True)) == codec.encoder(2).push(good, on(True, True))).all()


@pytest.mark.parametrize(
    ("codes", "active"),
    [
        (np.zeros((2, 8), np.int64), on(True, True)),
        (np.zeros((8, 2), np.int16), on(True, True)),
        (np.full((2, 8), 1024, np.int16), on(True, True)),
        (np.full((2, 8), -1, np.int16), on(True, True)),
        (np.zeros((2, 8), np.int16), on(True, True, True)),
    ],
)
def test_a_decoder_refuses_what_is_no_code(codec: TinyCodec, codes: Codes, active: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"int16|outside 0 to 1023|mask"):
        codec.decoder(2).push(codes, active)


def test_what_a_paused_row_is_given_is_not_looked_at(codec: TinyCodec) -> None:
    frames = np.stack([frames_of(hum(0.5))[1], np.full(FRAME_SIZE, np.nan, np.float32)])
    codes = codec.encoder(2).push(frames, on(True, False))
    assert codes[0].any()
    assert not codes[1].any()
    codes[1] = -1
    assert not codec.decoder(2).push(codes, on(True, False))[1].any()


def test_other_misuse_is_one_clear_error(codec: TinyCodec) -> None:
    for call in (
        lambda: codec.encoder(0),
        lambda: codec.decoder(-1),
        lambda: codec.encoder(2).reset(on(True)),
        lambda: codec.decoder(2).reset(np.zeros(2)),
        lambda: encode(codec, np.zeros((2, 10), np.float32)),
        lambda: encode(codec, np.zeros(10)),
        lambda: decode(codec, np.zeros(8, np.int16)),
        lambda: decode(codec, np.zeros((7, 2), np.int16)),
    ):
        with pytest.raises(InputError):
            call()


def test_weights_that_cannot_be_used_are_one_clear_error(codec: TinyCodec, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    good = WEIGHTS.read_bytes()
    assert len(good) <= 5_000_000
    tensors = load_file(WEIGHTS)
    metadata = {FORMAT: "{}"}
    files = {"cut": good[:-1000], "short": good[:100], "empty": b"", "noise": b"x" * 5000}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    save_file(tensors, tmp_path / "foreign")
    save_file({k: v for k, v in tensors.items() if k != "books"}, tmp_path / "lacking", metadata)
    save_file(tensors | {"books": tensors["books"][:7]}, tmp_path / "small", metadata)
    save_file(tensors | {"mean": tensors["mean"] * np.float16(np.nan)}, tmp_path / "nan", metadata)
    save_file(tensors | {"more": tensors["mean"]}, tmp_path / "more", metadata)
    for name in (*files, "foreign", "lacking", "small", "nan", "more", "missing"):
        with pytest.raises(InputError, match=name):
            load_codec(tmp_path / name)


def test_training_texts_are_many_different_and_seeded() -> None:
    texts = sentences(200, np.random.default_rng(3))
    assert texts == sentences(200, np.random.default_rng(3))
    assert len(set(texts)) == 200
    assert not any("{" in text for text in texts)


def test_source_names_the_very_weights(codec: TinyCodec) -> None:
    assert codec.source.startswith("tiny-codec/1:")


def test_the_network_that_is_trained_is_the_one_that_speaks(codec: TinyCodec) -> None:
    """torch over the whole sequence and numpy frame by frame make the same sound, but for rounding."""
    import torch

    from model.tiny.vocoder_net import VocoderNet, synthesise

    weights = read_weights(WEIGHTS, {**SHAPES, **VOCODER_SHAPES}).tensors
    vocoder = Vocoder(weights, sharpness=0)
    net = VocoderNet(*(torch.zeros(n) for n in (AXES, N_FEATURES, N_FEATURES)))
    net.load_state_dict({name: torch.from_numpy(weights[name]) for name in VOCODER_SHAPES})
    codes = np.ascontiguousarray(encode(codec, hum(2)).T[:24])
    codes[:, 7] = np.maximum(codes[:, 7], 1)  # none is silence
    places = codec.quantiser.places(codes)
    features = codec.quantiser.patches(places)
    state = vocoder.start(1)
    live = [vocoder.push(state, places[[t]], features[[t]], on(False))[0] for t in range(len(codes))]
    with torch.no_grad():
        said = net(torch.from_numpy(places)[None], torch.from_numpy(features.reshape(1, -1, N_FEATURES)))
        pitch = np.concatenate([[NEUTRAL], said.ln_f0[0].numpy()])[None].astype(np.float64)
        source = np.concatenate([np.zeros((1, HOP), np.float32), pulses(pitch, np.zeros(1))[0]], axis=1)
        noise = np.resize(noise_loop(), source.shape)
        whole = synthesise(said.filters, torch.from_numpy(source), torch.from_numpy(noise))[0].numpy()
    start, end = 2 * FRAME_SIZE, len(live) * FRAME_SIZE
    assert np.abs(np.concatenate(live)[start:end] - whole[start:end]).max() < 1e-3 * np.abs(whole).max()


class Hummer:
    """A Speaker that needs no model: every text is a hum of its own."""

    source = "hummer/1"
    voices = ("low", "high")

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        return hum(2.5, seed=len(text) + 100 * (voice == "high"))


def test_the_recipe_gives_the_same_weights_again_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    from model.tiny.train_codec import train

    hummer = Hummer()
    files = []
    for name in ("fresh", "again"):
        out = tmp_path / name
        said: list[str] = []
        casts = Cast(hummer, ["low"], 12), [Cast(hummer, ["high"], 3)]
        train(*casts, tmp_path / "work", out, steps=2, progress=said.append)
        files.append(out.read_bytes())
        assert "wrote" in said[-1]
    assert files[0] == files[1]
    assert encode(load_codec(tmp_path / "fresh"), hum(1)).any()
    with pytest.raises(InputError, match="agent's voice"):
        train(Cast(hummer, ["low"], 1), [Cast(hummer, ["low"], 1)], tmp_path / "x", tmp_path / "out")

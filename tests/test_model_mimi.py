"""Mimi: the codes and the sound of Kyutai's own package, streamed as at once, talks that do not know each other."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from builders import ROOT
from model.codec import Codec, decode, encode
from model.mimi.codec import MimiCodec, load_mimi, meta_net, save_mimi
from model.mimi.config import MimiConfig, read_mimi_config
from model.mimi.net import MimiNet
from protocols.errors import InputError

GOLDEN = ROOT / "tests" / "golden" / "moshi_talk"
FILE = GOLDEN / "tokenizer-e351c8d8-checkpoint125.safetensors"
SIZE = 1_920
TINY = read_mimi_config(GOLDEN / "mimi.json")
SHORT = msgspec.structs.replace(TINY, transformer=msgspec.structs.replace(TINY.transformer, context=6))


@pytest.fixture(scope="module")
def codec() -> MimiCodec:
    torch.set_num_threads(1)
    return load_mimi(FILE, read_mimi_config(GOLDEN / "mimi.json"))


@dataclass
class Expected:
    user: np.ndarray
    codes: np.ndarray
    decoded: np.ndarray


@pytest.fixture(scope="module")
def expected() -> Expected:
    found = load_file(GOLDEN / "expected.safetensors")
    return Expected(found["user"].numpy(), found["codes"].numpy().astype(np.int16), found["decoded"].numpy())


def test_codes_and_sound_are_those_of_kyutais_package(codec: MimiCodec, expected: Expected) -> None:
    made: Codec = codec
    np.testing.assert_array_equal(encode(made, expected.user), expected.codes)
    np.testing.assert_allclose(decode(made, expected.codes), expected.decoded, atol=1e-6)
    assert (codec.sample_rate, codec.frame_size, codec.n_codebooks, codec.card) == (24_000, SIZE, 8, 32)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_any_cutting_into_calls_is_the_whole(chunks: list[int]) -> None:
    """Streaming equals batch, also when a talk is longer than the transformers look back."""
    net, chance = random_net(SHORT, seed=1).double(), torch.Generator().manual_seed(0)
    sound = 0.3 * torch.randn(1, 1, sum(chunks) * SIZE, generator=chance, dtype=torch.float64)
    whole = net.encode(sound, {})
    heard, said = {}, {}  # type: ignore[var-annotated]
    codes = torch.cat([net.encode(part, heard) for part in sound.split([n * SIZE for n in chunks], -1)], -1)
    assert torch.equal(codes, whole)
    parts = torch.cat([net.decode(part, said) for part in codes.split(chunks, -1)], -1)
    torch.testing.assert_close(parts, net.decode(whole, {}), atol=1e-12, rtol=0)


def test_a_talk_does_not_know_its_neighbours_to_the_bit(codec: MimiCodec, expected: Expected) -> None:
    frames = expected.user.reshape(-1, SIZE)
    alone = [encode(codec, expected.user), decode(codec, expected.codes)]
    encoder, decoder = codec.encoder(3), codec.decoder(3)
    noise = np.random.default_rng(0).normal(0, 0.3, (len(frames) + 4, 3, SIZE)).astype(np.float32)
    heard, said = [], []
    for t in range(len(frames) + 4):  # row 1 begins four frames after its neighbours; row 2 sleeps now and then
        if t == 4:
            encoder.reset(np.array([False, True, False]))
            decoder.reset(np.array([False, True, False]))
        active = np.array([True, True, t % 3 == 0])
        noise[t, 1] = frames[t - 4] if t >= 4 else noise[t, 1]
        codes = encoder.push(noise[t], active)
        given = codes.copy()
        given[1] = expected.codes[:, t - 4] if t >= 4 else codes[1]
        audio = decoder.push(given, active)
        np.testing.assert_array_equal(codes[~active], np.tile(codec.silence, (int((~active).sum()), 1)))
        assert not audio[~active].any()
        if t >= 4:
            heard.append(codes[1])
            said.append(audio[1])
    np.testing.assert_array_equal(np.stack(heard, 1), alone[0])
    np.testing.assert_array_equal(np.concatenate(said), alone[1])


def test_talks_of_any_age_can_be_computed_together(codec: MimiCodec, expected: Expected) -> None:
    """As on a GPU: one batch, rounding aside the same."""
    grouped = MimiCodec(codec.net, TINY, "x", together=True)
    encoder, decoder = grouped.encoder(2), grouped.decoder(2)
    frames, said = expected.user.reshape(-1, SIZE), []
    for t in range(5, len(frames)):
        if t < 10:
            encoder.push(np.stack([frames[t], frames[t]]), np.array([True, False]))
    for t in range(len(frames) - 5):
        codes = encoder.push(np.stack([frames[t + 5], frames[t]]), np.array([True, True]))
        np.testing.assert_array_equal(codes[1], expected.codes[:, t])
        said.append(decoder.push(codes, np.array([True, True]))[1])
    np.testing.assert_allclose(np.concatenate(said), expected.decoded[: -5 * SIZE], atol=1e-6)


def random_net(config: MimiConfig, seed: int) -> MimiNet:
    torch.manual_seed(seed)
    net = MimiNet(config, 8).eval()
    for name, buffer in net.named_buffers():
        if name.endswith("embedding_sum"):
            buffer.normal_()
    return net


def test_names_of_older_files_are_read(codec: MimiCodec, tmp_path: Path) -> None:
    tensors = load_file(FILE)
    old = {
        name.replace("in_projs.0.weight", "in_proj_weight").replace("out_projs.0", "out_proj")
        .replace("embedding_sum", "embed_sum").replace("cluster_usage", "cluster_size")
        .replace("_initialized", "inited"): x for name, x in tensors.items()
    }  # fmt: skip
    assert old.keys().isdisjoint({"x"})
    assert len(old.keys() - tensors.keys()) > 4
    save_file(old, tmp_path / "old.safetensors")
    sound = np.random.default_rng(1).normal(0, 0.3, 3 * SIZE).astype(np.float32)
    read = load_mimi(tmp_path / "old.safetensors", TINY)
    np.testing.assert_array_equal(encode(read, sound), encode(codec, sound))


def test_what_is_saved_is_kyutais_file(codec: MimiCodec, tmp_path: Path) -> None:
    save_mimi(codec.net, tmp_path / "m.safetensors")
    saved, theirs = load_file(tmp_path / "m.safetensors"), load_file(FILE)
    assert saved.keys() == theirs.keys()
    assert all(torch.equal(saved[name], theirs[name]) for name in theirs)


def test_mimis_own_shape_is_the_default() -> None:
    """The counts of the published file: as the package builds it, its books aside."""
    net = meta_net(MimiConfig(), 8)
    assert sum(p.numel() for p in net.parameters()) == 79_308_609
    assert MimiConfig().frame_size == SIZE
    assert MimiConfig().stride == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seanet": {"norm": "weight_norm"}}, "norm is 'weight_norm'; only 'none'"),
        ({"transformer": {"gating": "silu"}}, "gating is 'silu'"),
        ({"seanet": {"n_filter": 3}}, "did you mean 'n_filters'"),
        ({"seanet": {"n_filters": "3"}}, "Expected `int`"),
        ({"seanet": {"ratios": [7, 6]}}, "not divided"),
        ({"seanet": {"dimension": 64}}, "another width"),
        ({"seanet": 3}, "no section"),
        ({"sample_rates": 3}, "did you mean 'sample_rate'"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    data = json.loads((GOLDEN / "mimi.json").read_text())
    for key, value in change.items():
        data[key] = data[key] | value if isinstance(value, dict) and key in data else value
    (tmp_path / "mimi.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=message):
        read_mimi_config(tmp_path / "mimi.json")


def test_a_file_that_is_no_such_mimi_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_mimi(tmp_path / "nothing", TINY)
    shutil.copy(FILE, tmp_path / "cut")
    (tmp_path / "cut").write_bytes(FILE.read_bytes()[:-9])
    with pytest.raises(InputError, match="cannot be read"):
        load_mimi(tmp_path / "cut", TINY)
    with pytest.raises(InputError, match=r"no such Mimi, \d+ tensors"):
        load_mimi(FILE, MimiConfig())
    with pytest.raises(InputError, match="8 codebooks; 9 are asked for"):
        load_mimi(FILE, TINY, 9)

"""`moshi:` with a tiny random checkpoint that Kyutai's own package wrote: its very talk; adapters, files, sizes."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("sentencepiece", reason="pip install -e '.[moshi]'")

from sentencepiece import SentencePieceProcessor

from app.systems import open_system
from builders import ROOT, tone
from eval.runner import drive
from eval.tasks.suite import Suite
from model.align.config import ModelConfig
from model.align.export import export
from model.align.lora import adapt
from model.lm import DuplexLM, load_kyutai
from model.lm_kyutai import MOSHI
from model.moshi_files import MIMI, TOKENIZER, find_files, shape_of
from model.systems import moshi as module
from model.systems.moshi import MoshiSystem, needs_of, read_pieces, slots_that_fit
from protocols.duplex import FRAME, FRAME_SIZE, Step
from protocols.errors import InputError
from protocols.records import Conversation
from remote import FAST, question, run_in

GOLDEN = ROOT / "tests" / "golden" / "moshi_talk"
GREEDY = {"text_temperature": 0.0, "audio_temperature": 0.0, "slots": 3}
ATOL = 1e-4


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return {name: x.numpy() for name, x in load_file(GOLDEN / "expected.safetensors").items()}


def held(system: MoshiSystem, user: np.ndarray, seed: int = 0) -> list[Step]:
    session = system.open(seed)
    steps = [session.step(frame) for frame in user.reshape(-1, FRAME_SIZE)]
    session.close()
    return steps


def test_a_talk_is_the_one_kyutais_package_holds(expected: dict[str, np.ndarray]) -> None:
    """Tokens, text logits to 1e-4 and sound of `moshi` 0.2.13, with codec, language model and their alignment."""
    system = MoshiSystem(str(GOLDEN), GREEDY)
    logits, step = [], system._lm.step

    def listened(*args: torch.Tensor) -> object:
        made = step(*args)
        logits.append(made.text_logits[0].numpy())
        return made

    system._lm.step = listened  # type: ignore[method-assign,assignment]
    steps = held(system, expected["user"])
    system.close()
    assert steps[0].tokens is None  # the longest delay is one frame
    assert not steps[0].audio.any()
    tokens = np.stack([step.tokens for step in steps[1:] if step.tokens is not None], 1)
    np.testing.assert_array_equal(tokens[:9], expected["tokens"])
    np.testing.assert_allclose(np.stack(logits), expected["text_logits"], atol=ATOL)
    np.testing.assert_allclose(np.concatenate([s.audio for s in steps[1:]]), expected["said"], atol=ATOL)


def test_beside_each_frame_of_the_agent_stands_what_it_was_trained_beside(expected: dict[str, np.ndarray]) -> None:
    """The grid of a talk, given to the model as a training sequence, gives the logits the talk was sampled from."""
    system = MoshiSystem(str(GOLDEN), GREEDY)
    grid = np.stack([s.tokens for s in held(system, expected["user"])[1:] if s.tokens is not None], 1)
    heard = system._codec.encoder(1)
    first = heard.push(expected["user"][None, FRAME_SIZE : 2 * FRAME_SIZE], np.ones(1, np.bool_))
    np.testing.assert_array_equal(grid[9:, 0], first[0])  # as if the talk began with its second frame
    system.close()
    lm = load_kyutai(GOLDEN)
    with torch.no_grad():
        whole = lm(torch.from_numpy(grid.astype(np.int64))[None]).text_logits[0].numpy()
        shifted = np.concatenate([grid[:9, 1:], grid[9:, :-1]])
        naive = lm(torch.from_numpy(shifted.astype(np.int64))[None]).text_logits[0].numpy()
    np.testing.assert_allclose(whole, expected["text_logits"][: whole.shape[0]], atol=ATOL)
    assert np.abs(naive - expected["text_logits"][1 : 1 + len(naive)]).max() > 0.05


def test_talks_in_one_batch_do_not_know_each_other(expected: dict[str, np.ndarray]) -> None:
    frames = expected["user"].reshape(-1, FRAME_SIZE)
    system = MoshiSystem(str(GOLDEN), {"slots": 2, "text_temperature": 1.5})
    alone = held(system, expected["user"], seed=7)
    first, said = system.open(1), []
    for t in range(4):
        first.step(frames[-t])
    second = system.open(7)
    for frame in frames:
        said.append(system.step_all([second, first], [frame, frame[::-1].copy()])[0])
    system.close()
    for a, b in zip(alone, said, strict=True):
        np.testing.assert_array_equal(a.audio, b.audio)
        assert a.text == b.text


def test_words_have_times_and_the_talk_is_a_record(tmp_path: Path) -> None:
    system = MoshiSystem(str(GOLDEN), {"text_temperature": 1.5, "padding_bias": -4.0, "slots": 2})
    run = run_in(tmp_path)
    assert drive(system, question(tmp_path, 3), tmp_path, run, FAST).failed == 0
    system.close()
    talks = list(run.read(Conversation))
    assert [talk.sample for talk in talks] == ["s00", "s01", "s02"]
    pieces = SentencePieceProcessor(model_file=str(GOLDEN / TOKENIZER))
    for talk in talks:
        (said,) = talk.transcripts
        assert len(said.words) > 3
        assert talk.recording is not None
        assert talk.tokens is not None
        assert all(0 < word.start < word.end <= talk.recording.duration + 2 * FRAME for word in said.words)
        grid = np.load(run.path / talk.tokens.path)
        assert grid.shape[0] == 17
        ids = [token for token in grid[0].tolist() if token > 3]
        assert "".join(word.text for word in said.words) == pieces.decode(ids).replace(" ", "")
        j = next(j for j, token in enumerate(grid[0].tolist()) if token > 3)
        # column j is what step j + 1 gave; its sound is heard in frame j + 2
        assert said.words[0].start == pytest.approx((j + 2) * FRAME)


def test_the_padding_bias_and_the_seed_are_heard() -> None:
    user = tone(0.8)

    def pieces(**options: float) -> list[str]:
        system = MoshiSystem(str(GOLDEN), {"slots": 1, "text_temperature": 1.0, **options})
        steps = held(system, user, seed=3)
        system.close()
        return [piece.text for step in steps for piece in step.text]

    assert pieces(padding_bias=50) == []
    assert len(pieces(padding_bias=-50)) > len(pieces(padding_bias=2)) > 0
    assert pieces() == pieces()
    assert pieces(text_top_k=1) == pieces(text_temperature=0)


def aligned(tmp_path: Path) -> tuple[Path, DuplexLM]:
    """What an alignment with adapters writes over the checkpoint, and the adapted model."""
    lm = load_kyutai(GOLDEN)
    adapt(lm, rank=2, scaling=1.5, seed=0, text=True, audio=True)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in lm.named_parameters():
        if name.endswith(".up"):
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    told = ModelConfig(base=str(GOLDEN), adapter="lora", lora_rank=2, lora_scaling=1.5)
    return export(lm, told, tmp_path / "out"), lm


def test_an_aligned_moshi_talks_as_a_folder_and_as_adapters_over_its_base(
    tmp_path: Path, expected: dict[str, np.ndarray]
) -> None:
    out, _ = aligned(tmp_path)
    talks = []
    for place in (str(out), f"{GOLDEN}@{out / 'lora'}", f"{GOLDEN}@{out / 'lora' / 'lora.safetensors'}", str(GOLDEN)):
        system = MoshiSystem(place, GREEDY)
        assert "slots" not in system.info.decoding
        talks.append(np.stack([s.tokens for s in held(system, expected["user"])[1:] if s.tokens is not None]))
        assert ("+" in system.info.version) == ("@" in place)
        system.close()
    np.testing.assert_array_equal(talks[0], talks[1])
    np.testing.assert_array_equal(talks[1], talks[2])
    assert not np.array_equal(talks[0], talks[3])


def test_a_repository_of_adapters_that_names_its_base(tmp_path: Path) -> None:
    """As moshi-finetune publishes them: `lora`, its scaling, and files elsewhere."""
    out, lm = aligned(tmp_path)
    config = json.loads((out / "lora" / "config.json").read_text()) | {"lora_name": "lora.safetensors"}
    config |= {"moshi_name": f"file://{GOLDEN}/model.safetensors", "mimi_name": f"file://{GOLDEN}/{MIMI}"}
    config |= {"tokenizer_name": f"file://{GOLDEN}/{TOKENIZER}", "mimi_config_name": f"file://{GOLDEN}/mimi.json"}
    (out / "lora" / "config.json").write_text(json.dumps(config))
    files = find_files(str(out / "lora"))
    assert files.lora is not None
    assert files.lora.scaling == 1.5
    merged = load_kyutai(GOLDEN, torch.float64)
    module.add_adapters(merged, files.lora)
    lm.double()
    codes = torch.randint(0, 20, (1, 17, 5), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(merged(codes).text_logits, lm(codes).text_logits, atol=1e-5, rtol=0)
        torch.testing.assert_close(merged(codes).audio_logits, lm(codes).audio_logits, atol=1e-5, rtol=0)


def test_adapters_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    out, _ = aligned(tmp_path)
    file = out / "lora" / "lora.safetensors"
    good = load_file(file)
    first = next(iter(good))
    for change, message in (
        ({"other.lora_A.weight": torch.zeros(2)}, "1 tensors that this model has not, such as other"),
        ({first: torch.zeros(2, 5)}, "cannot be read as adapters|makes a change of"),
        ({first: torch.zeros(3, *good[first].shape[1:])}, "cannot be read as adapters"),
    ):
        save_file(good | change, file)
        with pytest.raises(InputError, match=message):
            MoshiSystem(f"{GOLDEN}@{out / 'lora'}")
    save_file({key: x for key, x in good.items() if key != first}, file)
    with pytest.raises(InputError, match="1 tensors that this model has not"):
        MoshiSystem(f"{GOLDEN}@{out / 'lora'}")
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as adapters"):
        MoshiSystem(f"{GOLDEN}@{file}")


def test_whole_tensors_in_place_of_adapters_take_their_places(tmp_path: Path) -> None:
    theirs = load_file(GOLDEN / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    save_file({"text_emb.weight": theirs["text_emb.weight"] + 1}, tmp_path / "lora.safetensors")
    lm = load_kyutai(GOLDEN)
    files = find_files(f"{GOLDEN}@{tmp_path}")
    assert files.lora is not None
    module.add_adapters(lm, files.lora)
    torch.testing.assert_close(lm.text_embedding.data, theirs["text_emb.weight"] + 1)
    save_file({name: x + 1 for name, x in theirs.items()}, tmp_path / "consolidated.safetensors")
    whole = find_files(f"{GOLDEN}@{tmp_path}").lora  # trained without adapters
    assert whole is not None
    module.add_adapters(lm, whole)
    torch.testing.assert_close(lm.layers[0].qkv.weight.data,  # type: ignore[union-attr,operator]
                               theirs["transformer.layers.0.self_attn.in_projs.0.weight"] + 1)  # fmt: skip


def copied(tmp_path: Path, **config: object) -> Path:
    folder = tmp_path / "checkpoint"
    shutil.copytree(GOLDEN, folder)
    data = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"mimi_config_name": "file:///nowhere/mimi.json"}, r"/nowhere/mimi\.json is missing"),
        ({"mimi_name": "other.safetensors"}, r"other\.safetensors is missing"),
        ({"tokenizer_name": "mimi.json"}, "no SentencePiece model"),
        ({"num_layer": 3}, "did you mean 'num_layers'"),
        ({"lora": True}, "names them|name them"),
        ({"dep_q": 6}, "hears 10 codebooks|does not fit"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_one_clear_error(
    tmp_path: Path, config: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        MoshiSystem(str(copied(tmp_path, **config)))


def test_a_vocabulary_smaller_than_its_tokenizer_is_refused() -> None:
    with pytest.raises(InputError, match="45 tokens for a text vocabulary of 20"):
        read_pieces(GOLDEN / TOKENIZER, replace(shape_of(str(GOLDEN)), text_card=20))


def test_a_letter_said_in_several_tokens_is_one_letter(tmp_path: Path) -> None:
    from sentencepiece import SentencePieceTrainer

    SentencePieceTrainer.train(
        sentence_iterator=iter(["hello there", "how are you"] * 9), model_prefix=str(tmp_path / "b"), vocab_size=290,
        byte_fallback=True, hard_vocab_limit=False, unk_id=0, bos_id=1, eos_id=2, pad_id=3, minloglevel=2,
    )  # fmt: skip
    pieces = read_pieces(tmp_path / "b.model", MOSHI)
    ids = SentencePieceProcessor(model_file=str(tmp_path / "b.model")).encode("hé you")
    assert b"".join(pieces[i] for i in ids).decode() == " hé you"
    assert b"\xc3" in [pieces[i] for i in ids]
    assert pieces[:4] == (b"",) * 4


@pytest.mark.parametrize("place", ["no/such-repository", "hf-name-without-owner", "/no/such/folder"])
def test_what_is_neither_here_nor_on_the_hub_is_one_clear_error(place: str) -> None:
    with pytest.raises(InputError, match="is no folder") as refused:
        MoshiSystem(place)
    assert len(str(refused.value).splitlines()) == 1


class Hub(BaseHTTPRequestHandler):
    """Serves the golden checkpoint as owner/tiny, and owner/legacy without its config.json."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        _, owner, repository, *_, name = self.path.split("?")[0].split("/")
        file, there = GOLDEN / name, (owner, repository) in (("owner", "tiny"), ("owner", "legacy"))
        if not there or not file.is_file() or (repository == "legacy" and name == "config.json"):
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if there else "RepoNotFound")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        data = file.read_bytes()
        self.send_response(200)
        for header, value in {
            "etag": f'"{len(data)}"',
            "x-repo-commit": "0" * 40,
            "content-length": str(len(data)),
        }.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Tests print nothing."""


def test_repositories_of_a_hub_are_fetched(tmp_path: Path) -> None:
    code = (
        "from model.moshi_files import *\n"
        "files = find_files('owner/tiny')\n"
        "print(files.config.dim, files.mimi.stat().st_size, files.mimi_config.seanet.dimension)\n"
        "print(shape_of('owner/legacy') == MOSHI)\n"
        "try: find_files('owner/nothing')\n"
        "except InputError as error: print(str(error).splitlines())"
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        Thread(target=hub.serve_forever, daemon=True).start()
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path),
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment,
            check=True,
        )
        hub.shutdown()
    tiny, legacy, nothing = done.stdout.splitlines()
    assert tiny == f"32 {(GOLDEN / MIMI).stat().st_size} 32"
    assert legacy == "True"
    assert "owner/nothing is no folder, and config.json could not be had from the hub" in nothing


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'text_top_k'"):
        MoshiSystem(str(GOLDEN), {"text_topk": 3})


def test_seven_billion_parameters_are_counted_and_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = needs_of(MOSHI, torch.bfloat16)
    assert needs.parameters == 7_687_729_152
    assert needs.weights == 2 * needs.parameters
    assert needs.talk == 2 * 32 * 3_000 * 4_096 * 2
    assert slots_that_fit(needs, 24_000_000_000) == 2
    assert slots_that_fit(needs, 80_000_000_000) == 16
    assert slots_that_fit(needs, 16_000_000_000) == 1
    (tmp_path / "model.safetensors").touch()  # Moshi as first published has no config.json
    for name in (MIMI, TOKENIZER):
        (tmp_path / name).touch()
    assert shape_of(str(tmp_path)) == MOSHI
    monkeypatch.setattr(module, "room_on", lambda device: 16_000_000_000)
    with pytest.raises(InputError, match=r"7,687\.7 M parameters, 30\.8 GB of weights.*; cpu has 16\.0 GB"):
        MoshiSystem(str(tmp_path))


def test_what_a_checkpoint_takes_is_said_where_it_is_opened() -> None:
    opened = open_system(f"moshi:{GOLDEN}", Suite("none", Path(), (), "0", ()), FAST, {"slots": 2})
    assert opened.note == "0.1 M parameters, 0.3 MB of weights, 0.0 MB for a talk; 2 at once on cpu in float32"
    opened.system.close()

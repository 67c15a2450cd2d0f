"""What an alignment is told: a strict, frozen configuration from YAML, with `--set loss.beta=0.1` on top.

The one non-obvious thing is that nothing is ignored. An unknown key names the nearest valid one, a knob that the
chosen loss does not read is an error, and so is a combination that could not do what it says. Defaults are the
paper's where it names them (arXiv 2506.21463). Paths are relative to where the command runs. Reading the pairs and
the model is not done here.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
import yaml

from model.align.losses import Knobs, check
from protocols.base import Value
from protocols.errors import InputError, unknown_name

Streams = Literal["T", "A", "T,A", "T+A", "T+CE", "timing"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Number = Annotated[int, msgspec.Meta(ge=0)]  # 0: never
Positive = Annotated[float, msgspec.Meta(gt=0)]
Weight = Annotated[float, msgspec.Meta(ge=0)]


class ModelConfig(Value, frozen=True, forbid_unknown_fields=True):
    base: str  # a folder with config.json and model.safetensors, or a name the command knows; also the reference
    adapter: Literal["full", "lora"] = "full"
    lora_rank: Count = 128
    lora_scaling: Positive = 2.0
    precision: Literal["float32", "bfloat16"] = "float32"  # of the arithmetic; what is trained stays in float32
    checkpointing: bool = False  # keep less for the backward pass, compute it twice
    attention: Literal["auto", "dense", "merge", "flex"] = "auto"
    device: str = "cpu"
    shard: bool = False  # deal weights, gradients and moments out among the processes of torchrun (FSDP2)


class DataConfig(Value, frozen=True, forbid_unknown_fields=True):
    pairs: str  # a folder that `write_pairs` made
    validation_share: Share = 0.05  # of the talks
    pairs_per_trunk: Count = 8  # of one talk, at most, in one forward
    kinds: tuple[str, ...] = ()  # of pairs that are used; none given: all


class LossConfig(Knobs, frozen=True, forbid_unknown_fields=True):
    name: str = "dpo_ln"
    streams: Streams = "T"  # T,A: two losses; T+A: one, merged; T+CE: with cross-entropy on the chosen audio
    padding_weight: Weight = 1.0  # of the text's padding, by which timing is said: 1 all (the paper), 0 none
    semantic_weight: Weight = 1.0
    acoustic_weight: Weight = 1.0
    ce_weight: Weight = 1.0  # of the cross-entropy in T+CE
    sft_weight: Weight = 0.0  # of the anchor: the chosen reply's likelihood per token, in the same streams
    ld_alpha: Share = 1.0  # weight of what the longer reply says beyond the shorter one's length (LD-DPO)


class OptimConfig(Value, frozen=True, forbid_unknown_fields=True):
    lr: Positive = 1e-6  # temporal transformer, embeddings, text head
    lr_depth: Positive = 1e-6
    warm_up: Share = 0.16  # of all steps
    weight_decay: Weight = 0.0
    betas: tuple[Share, Share] = (0.9, 0.95)
    clip_norm: Positive = 1.0
    micro_batch: Count = 1  # trunks in one forward
    accumulate: Count = 16  # forwards in one step
    epochs: Count = 1
    max_steps: Number = 0


class RunConfig(Value, frozen=True, forbid_unknown_fields=True):
    folder: str
    seed: Number = 0
    reference: str | None = None  # a cache of reference log-probabilities; None: made in the folder
    eval_every: Number = 50
    save_every: Number = 50
    probe_every: Number = 0
    keep: Count = 2  # newest checkpoints, beside the best
    patience: Number = 0  # evaluations without a better one before it stops


class AlignConfig(Value, frozen=True, forbid_unknown_fields=True):
    model: ModelConfig
    data: DataConfig
    run: RunConfig
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()

    def __post_init__(self) -> None:
        loss, text_only = self.loss, self.loss.streams in ("T", "timing")
        chosen, usual = check(loss.name, loss), LossConfig()
        rules = {
            "loss.padding_weight is for streams that score text": loss.streams not in ("A", "timing")
            or loss.padding_weight == usual.padding_weight,
            "loss.semantic_weight and loss.acoustic_weight are for streams with audio": not text_only
            or (loss.semantic_weight, loss.acoustic_weight) == (1.0, 1.0),
            "loss.semantic_weight and loss.acoustic_weight cannot both be 0": loss.semantic_weight
            + loss.acoustic_weight
            > 0,
            "loss.ce_weight is for the streams T+CE": loss.streams == "T+CE" or loss.ce_weight == usual.ce_weight,
            "loss.ld_alpha needs a loss with a reference": chosen.reference or loss.ld_alpha == 1,
            "loss.ld_alpha is for preferences": not chosen.hindsight or loss.ld_alpha == 1,
            "a reply's place after the user's next words is not the model's: loss.padding_weight must be 0, "
            "and loss.streams not timing": not chosen.hindsight
            or (loss.streams != "timing" and (loss.streams == "A" or loss.padding_weight == 0)),
            f"{loss.name} sets the replies of a step against each other: optim.micro_batch or optim.accumulate "
            "must be more than 1": not chosen.hindsight or self.optim.micro_batch * self.optim.accumulate > 1,
            "loss.sft_weight repeats the loss sft": loss.name != "sft" or loss.sft_weight == 0,
            "run.patience needs run.eval_every": not self.run.patience or self.run.eval_every > 0,
        }
        if broken := [rule for rule, holds in rules.items() if not holds]:
            raise InputError("; ".join(broken))

    def plain(self) -> dict[str, Any]:
        """As JSON knows it, every default written out."""
        values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return values

    @property
    def audio(self) -> bool:
        """Whether the depth transformer has work to do."""
        return self.loss.streams not in ("T", "timing")

    @property
    def text(self) -> bool:
        return self.loss.streams != "A"


PAPER: dict[str, Any] = {  # section 4 of the paper, on Moshi
    "model": {"base": "moshi", "precision": "bfloat16", "checkpointing": True, "device": "cuda"},
    "data": {"pairs": "runs/pairs"},
    "loss": {"name": "dpo_ln", "beta": 0.3, "streams": "T"},
    "optim": {"lr": 5e-9, "lr_depth": 1e-6, "warm_up": 0.16, "micro_batch": 1, "accumulate": 16, "epochs": 1},
    "run": {"folder": "runs/align"},
}
TINY: dict[str, Any] = {  # the embedded model on a processor
    "model": {"base": "tiny:base"},
    "data": {"pairs": "runs/pairs"},
    "loss": {"name": "dpo_ln", "beta": 2.0},
    "optim": {"lr": 2e-5, "warm_up": 0.1, "accumulate": 8, "max_steps": 60},
    "run": {"folder": "runs/align", "eval_every": 10, "save_every": 20, "probe_every": 10},
}
SDPO: dict[str, Any] = {  # the embedded model, from its users' next words; pairs of `duologue align hindsight`
    **TINY,
    "data": {"pairs": "runs/hindsight"},
    "loss": {"name": "sdpo", "beta": 1.0, "padding_weight": 0.0},
    "run": {**TINY["run"], "folder": "runs/sdpo"},
}
PRESETS = {"paper": PAPER, "tiny": TINY, "sdpo": SDPO}


def read_config(path: Path | None, preset: str | None = None, sets: Iterable[str] = ()) -> AlignConfig:
    """A preset, over it a YAML file, over both `section.key=value`. Whatever is not understood is an InputError.

    A layer that names another loss than the one below it takes none of that one's knobs.
    """
    if preset is not None and preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    tree = _laid_over(PRESETS[preset] if preset else {}, _read(path) if path else {})
    return build(_laid_over(tree, _assigned(sets)), str(path or preset or "the configuration"))


def _assigned(sets: Iterable[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for assignment in sets:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"--set {assignment}: give section.key=value, such as loss.beta=0.1")
        for part in reversed(key.strip().split(".")[1:]):
            value = {part: read_value(value, key) if isinstance(value, str) else value}  # type: ignore[assignment]
        tree = _over(tree, {key.split(".")[0].strip(): value})
    return tree


def _laid_over(under: Mapping[str, Any], over: Any) -> dict[str, Any]:
    joined = _over(under, over)
    before, said = under.get("loss"), over.get("loss")
    if isinstance(before, dict) and isinstance(said, dict) and _loss_of(joined["loss"]) != _loss_of(before):
        kept = {key: value for key, value in before.items() if key not in Knobs.__struct_fields__}
        joined["loss"] = _over(kept, said)
    return joined


def _loss_of(section: Mapping[str, Any]) -> Any:
    return section.get("name", LossConfig().name)


def build(tree: Mapping[str, Any], where: str) -> AlignConfig:
    """The configuration of plain values. Unknown keys, wrong types and impossible combinations: InputError."""
    _known_keys(tree, AlignConfig, where, "")
    try:
        return msgspec.convert(tree, AlignConfig, strict=True)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {error}") from error
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def read_value(text: str, key: str) -> Any:
    """What a command line says of a setting, read as YAML."""
    return _yaml(text, f"--set {key}")


def _read(path: Path) -> Any:
    try:
        return _yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _yaml(text: str, where: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not YAML: {error}") from error
    # YAML 1.1 takes 5e-9, which has no point, for a word.
    return _numbers(value)


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, str) and value[:1] in "-+.0123456789" and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _over(under: Mapping[str, Any], over: Any) -> dict[str, Any]:
    if not isinstance(over, dict):
        raise InputError("a configuration is sections of keys: `loss:` and indented below it `beta: 0.1`")
    joined = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(joined.get(key), dict)
        joined[key] = _over(joined[key], value) if both else value
    return joined


def _known_keys(tree: Any, kind: type, where: str, section: str) -> None:
    fields = get_type_hints(kind)
    for key, value in tree.items():
        if key not in fields:
            known = [f"{section}{name}" for name in fields]
            raise InputError(f"{where}: {unknown_name('key', f'{section}{key}', known)}")
        inner = fields[key]
        if isinstance(inner, type) and issubclass(inner, Value) and isinstance(value, dict):
            _known_keys(value, inner, where, f"{key}.")

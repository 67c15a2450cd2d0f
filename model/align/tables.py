"""The rows of a comparison: configurations that differ in one thing, the published tables of the paper among them.

A loss brings its own knobs, since another loss would not read the configured ones. DPO-LN's and SimPO's are those of
the paper; it names none for DPO and APO-zero, whose beta here is TRL's default. To losses and beta belongs a control
without any preference in it, the chosen replies' likelihood alone, because that can explain most of a gain. Nothing is
trained here.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from model.align.config import AlignConfig, build, read_value
from model.align.losses import LOSSES, Knobs
from protocols.errors import InputError, unknown_name

Table = Literal["streams", "losses", "beta", "data"]
CONTROL = "control: chosen replies alone"
LOSS_ROWS: dict[str, dict[str, Any]] = {
    "DPO-LN": {"name": "dpo_ln", "beta": 0.3},
    "DPO": {"name": "dpo", "beta": 0.1},
    "SimPO": {"name": "simpo", "beta": 2.0, "gamma": 0.5},
    "APO-zero": {"name": "apo_zero", "beta": 0.1},
    CONTROL: {"name": "sft"},
}
STREAM_ROWS = ("T", "T,A", "T+A", "T+CE")
BETAS = (0.1, 0.3, 0.5, 2.0)


class Row(NamedTuple):
    name: str
    config: AlignConfig


def paper_rows(table: Table, config: AlignConfig, kinds: Sequence[str], knobs: Sequence[str] = ()) -> list[Row]:
    """The rows of one of the paper's tables.

    kinds: of the data set's pairs, for the table of data mixes. knobs: `loss.key=value`, for the table of losses, each
    of one row's loss. What is not one is an InputError.
    """
    if knobs and table != "losses":
        raise InputError("knobs of one loss each are for the table of losses")
    if table == "data":
        mixes = {kind: (kind,) for kind in kinds}
        if len(mixes) < 2:
            raise InputError(f"a table of data needs pairs of several kinds; there are only {', '.join(kinds)}")
        return [_row(name, config, {"data": {"kinds": list(mix)}}) for name, mix in {**mixes, "all": ()}.items()]
    if table == "streams":
        return [_row(streams, config, {"loss": {"streams": streams}}) for streams in STREAM_ROWS]
    losses = _turned(knobs)
    if table == "beta":
        own = {key: value for key, value in config.plain()["loss"].items() if key in {"name", *Knobs.__struct_fields__}}
        losses = {f"beta {beta:g}": own | {"beta": beta} for beta in BETAS} | {CONTROL: LOSS_ROWS[CONTROL]}
    return [Row(name, _with_loss(config, loss)) for name, loss in losses.items()]


def _turned(knobs: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The rows of losses with these knobs in the place of the usual ones."""
    rows = {name: dict(loss) for name, loss in LOSS_ROWS.items()}
    of = {loss["name"]: loss for loss in rows.values()}
    for knob in knobs:
        name, key, value = _parsed("--knob", knob, "loss.key=value, such as dpo.beta=1")
        if name not in of:
            raise unknown_name("loss of the table", name, of)
        if key == "name":
            raise InputError(f"--knob {knob}: a row keeps its loss; give one of its settings, such as {name}.beta=1")
        of[name][key] = read_value(value, f"{name}.{key}")
    return rows


def varied(config: AlignConfig, setting: str) -> list[Row]:
    """A row for each value of `section.key=value,value,...`; what is not one is an InputError."""
    section, key, values = _parsed("--vary", setting, "section.key=value,value, such as loss.beta=0.1,0.3")
    parts = [part.strip() for part in values.split(",")]
    if len(set(parts)) < len(parts) or "" in parts:
        raise InputError(f"--vary {setting}: the values must differ from each other")
    return [_row(f"{key} {part}", config, {section: {key: read_value(part, f"{section}.{key}")}}) for part in parts]


def _parsed(option: str, said: str, form: str) -> tuple[str, str, str]:
    """The three parts of `first.key=value`, or an InputError that says the form."""
    place, equals, value = said.partition("=")
    first, dot, key = place.strip().partition(".")
    if not (equals and dot and value.strip()):
        raise InputError(f"{option} {said}: give {form}")
    return first, key, value


def _with_loss(config: AlignConfig, loss: Mapping[str, Any]) -> AlignConfig:
    """With this loss and its knobs; what else was said of the loss stays, as far as this one can have it."""
    tree = config.plain()
    kept = {key: value for key, value in tree["loss"].items() if key not in {"name", *Knobs.__struct_fields__}}
    if not LOSSES[str(loss["name"])].reference:
        kept.pop("ld_alpha")
    if loss["name"] == "sft":
        kept.pop("sft_weight")
    return build({**tree, "loss": {**kept, **loss}}, str(loss["name"]))


def _row(name: str, config: AlignConfig, changed: Mapping[str, Mapping[str, Any]]) -> Row:
    tree = config.plain()
    for section, keys in changed.items():
        tree[section] = {**tree.get(section, {}), **keys}
    return Row(name, build(tree, name))


def placed(rows: Sequence[Row]) -> list[Row]:
    """Each in a folder of its own, with one reference cache for all of one model, data and streams."""
    made = []
    for row in rows:
        tree = row.config.plain()
        folder = Path(row.config.run.folder)
        hangs_on = [tree["model"], tree["data"], row.config.text, row.config.audio]
        digest = hashlib.sha256(json.dumps(hangs_on, sort_keys=True).encode()).hexdigest()[:12]
        tree["run"]["folder"] = str(folder / slug(row.name))
        tree["run"]["reference"] = row.config.run.reference or str(folder / f"reference-{digest}.safetensors")
        made.append(Row(row.name, build(tree, row.name)))
    return made


def slug(name: str) -> str:
    """A row's name as a folder's."""
    return "".join(c if c.isalnum() or c in "+.-" else "-" for c in name.lower()).strip("-")

"""`config.json`: how a checkpoint's nets are built and what they want as input."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from partswap.errors import ModelError
from partswap.parts import MAX_PARTS

__all__ = ["FORMAT", "MAX_CLOSER", "MAX_LIMBS", "Config", "HangingLimb"]

FORMAT = 1
"""The one format version so far; it rises when an older partswap could not read what a newer one writes."""

MAX_LIMBS = 16
"""Each is looked for in every photo."""
MAX_CLOSER = 8
"""The net runs once more for each, in every photo that it is sure of."""

# A plain timm name: no `hf-hub:` or `local-dir:` prefix and no path can reach timm's loaders from a
# checkpoint.
_BACKBONE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Training makes at most 1280; the net's work grows with the square, and at 4096 it takes minutes on a CPU.
_MAX_SIDE = 1536
_MAX_MULTIPLE = 256
_STRIDE = 32  # of every encoder: partswap.nets.encoder.MULTIPLE, which cannot be had without torch
_MAX_HYPER = 4096  # no width or code length of ours comes near; a claim above it only means to eat memory


@dataclass(frozen=True)
class HangingLimb:
    """A limb that hangs on a body, as a person told `train --limbs`.

    parts: ids of the parts that make it up. never: ids of those in whose midst no piece of it lies
    (`partswap.islands`). before: ids of those that it may lie before, where it is bare, and bare: of those
    that have its colour then (`partswap.crossings`); with one goes the other. once: ids of what a body has
    once, each with all of its parts; a further piece within the limb is the limb (`partswap.islands`).
    """

    parts: tuple[int, ...]
    never: tuple[int, ...] = ()
    before: tuple[int, ...] = ()
    bare: tuple[int, ...] = ()
    once: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Config:
    """What `config.json` holds.

    name: short name of the model. parts: K. size: (height, width) of discovery's training pictures, pixels.
    input_long_side: the photo's longer side, in pixels, as the student sees it. multiple: the net's stride;
    both sides of its input are multiples of it. student, renderer: arguments for `partswap.nets.build`. mean,
    std: of RGB in 0..1. limbs: which parts make up limbs, and what was told of them. closer: ids of the parts
    of each kind that is looked at from near (`partswap.closer`). training: a free record (command, seed,
    steps, data, versions); nothing reads it to build a net.
    """

    name: str
    parts: int
    student: dict[str, Any]
    renderer: dict[str, Any] | None = None
    size: tuple[int, int] = (256, 176)
    input_long_side: int = 320
    multiple: int = 32
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    limbs: tuple[HangingLimb, ...] = ()
    closer: tuple[tuple[int, ...], ...] = ()
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ModelError, naming the field, for a value outside its range."""
        _require(isinstance(self.name, str) and _NAME.fullmatch(self.name), "name", self.name)
        _require(_whole(self.parts, 1, MAX_PARTS), "parts", self.parts)
        _require(len(self.size) == 2 and all(_whole(s, 8, _MAX_SIDE) for s in self.size), "size", self.size)
        _require(
            _whole(self.multiple, _STRIDE, _MAX_MULTIPLE) and self.multiple % _STRIDE == 0,
            "multiple",
            self.multiple,
        )
        _require(_whole(self.input_long_side, 16, _MAX_SIDE), "input_long_side", self.input_long_side)
        _require(self.input_long_side >= self.multiple, "input_long_side", self.input_long_side)
        # of values in 0..1; what float32 rounds to zero or to infinity would make every pixel NaN
        _require(
            len(self.mean) == 3 and all(_real(m) and abs(m) <= 100 for m in self.mean), "mean", self.mean
        )
        _require(len(self.std) == 3 and all(_real(s) and 1e-3 <= s <= 100 for s in self.std), "std", self.std)
        _require(len(self.limbs) <= MAX_LIMBS, "limbs", self.limbs)
        for limb in self.limbs:
            once = tuple(chain(*limb.once))
            others = (*limb.never, *limb.before, *limb.bare, *once)
            _require(len(limb.once) <= MAX_LIMBS and all(limb.once), "limbs", limb)
            for ids in (limb.parts, limb.never, limb.before, limb.bare, once):
                _require(all(_whole(part, 1, self.parts) for part in ids), "limbs", limb)
                _require(len(set(ids)) == len(ids), "limbs", limb)
            _require(limb.parts and others and not set(limb.parts) & set(others), "limbs", limb)
            _require(bool(limb.before) == bool(limb.bare), "limbs", limb)
            _require(not set(limb.before) & set(limb.bare), "limbs", limb)
        looked_at = tuple(chain(*self.closer))
        _require(all(self.closer) and len(self.closer) <= MAX_CLOSER, "closer", self.closer)
        _require(all(_whole(part, 1, self.parts) for part in looked_at), "closer", self.closer)
        _require(len(set(looked_at)) == len(looked_at), "closer", self.closer)
        _require(isinstance(self.training, Mapping), "training", self.training)
        _check_net("student", self.student, self.parts)
        if self.renderer is not None:
            _check_net("renderer", self.renderer, self.parts)

    def to_json(self) -> dict[str, Any]:
        """What `config.json` holds."""
        return {
            "format": FORMAT,
            "name": self.name,
            "parts": self.parts,
            "size": list(self.size),
            "input_long_side": self.input_long_side,
            "multiple": self.multiple,
            "student": dict(self.student),
            "renderer": None if self.renderer is None else dict(self.renderer),
            "mean": list(self.mean),
            "std": list(self.std),
            **({"limbs": [_lists(limb) for limb in self.limbs]} if self.limbs else {}),
            **({"closer": [list(kind) for kind in self.closer]} if self.closer else {}),
            "training": dict(self.training),
        }

    @classmethod
    def from_json(cls, data: object) -> Config:
        """A configuration from a parsed `config.json`; ModelError for another format, a missing or a bad
        field."""
        if not isinstance(data, dict):
            raise ModelError("config.json must be a JSON object")
        version = data.get("format")
        if version != FORMAT or type(version) is not int:
            raise ModelError(
                f"config.json has format {str(version)[:20]}, but this partswap reads format {FORMAT}; "
                "if the model is newer than your partswap, run: pip install --upgrade partswap"
            )
        fields = (
            "name",
            "parts",
            "size",
            "input_long_side",
            "multiple",
            "student",
            "renderer",
            "mean",
            "std",
        )
        missing = [key for key in fields if key not in data]
        if missing:
            raise ModelError(f"config.json lacks {', '.join(missing)}")
        values = {key: data[key] for key in fields}
        for key in ("size", "mean", "std"):
            _require(isinstance(values[key], list), key, values[key])
            values[key] = tuple(values[key])
        limbs = tuple(_limb(each) for each in _listed("limbs", data.get("limbs", [])))
        closer = tuple(tuple(_listed("closer", kind)) for kind in _listed("closer", data.get("closer", [])))
        return cls(**values, limbs=limbs, closer=closer, training=data.get("training", {}))


def _lists(limb: HangingLimb) -> dict[str, Any]:
    said: dict[str, Any] = {key: list(ids) for key, ids in asdict(limb).items() if ids}
    if limb.once:
        said["once"] = [list(ids) for ids in limb.once]
    return said


def _limb(data: object) -> HangingLimb:
    """A limb from `config.json`; that its ids are parts is looked at by :class:`Config`."""
    _require(isinstance(data, dict), "limbs", data)
    assert isinstance(data, dict)
    keys = ("parts", "never", "before", "bare")
    ids = {key: tuple(_listed(f"limbs.{key}", data.get(key, []))) for key in keys}
    once = tuple(tuple(_listed("limbs.once", each)) for each in _listed("limbs.once", data.get("once", [])))
    return HangingLimb(**ids, once=once)


def _listed(key: str, value: object) -> list[Any]:
    _require(isinstance(value, list) and len(value) <= MAX_PARTS, key, value)
    assert isinstance(value, list)
    return value


def _check_net(key: str, net: object, parts: int) -> None:
    """Every value that reaches a net's constructor is a plain name or a bounded number."""
    _require(isinstance(net, dict) and len(net) <= 32, key, net)
    assert isinstance(net, dict)
    if net.get("parts") != parts:
        raise ModelError(f"config.json: {key}.parts is {str(net.get('parts'))[:20]}, but parts is {parts}")
    for name, value in net.items():
        where = f"{key}.{name}"[:60]
        if name == "backbone":
            _require(isinstance(value, str) and len(value) <= 80 and _BACKBONE.fullmatch(value), where, value)
        elif isinstance(value, list):
            _require(len(value) <= 64 and all(_whole(v, 0, _MAX_HYPER) for v in value), where, value)
        else:
            plain = isinstance(value, bool | None) or (isinstance(value, str) and _NAME.fullmatch(value))
            _require(plain or (_real(value) and abs(value) <= _MAX_HYPER), where, value)


def _whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _real(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _require(good: object, key: str, value: object) -> None:
    if not good:
        raise ModelError(f"config.json: {key} cannot be {str(value)[:60]!r}")

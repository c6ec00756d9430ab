"""Is a checkpoint what its maker saw? Its hashes, its tensors, and what it makes of a drawn picture.

`verification.json` holds, from the machine that made the checkpoint, the hashes of weights and configuration
and the label map of the drawn picture. Hashes say that nothing changed; the label map says that this machine,
engine and version compute the same from it. Numbers differ a little between machines, so label maps are
compared where the model was sure, and nearly all of those pixels must agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from partswap.checkpoint import Checkpoint, read_checkpoint
from partswap.checkpoint.files import (
    CONFIG_FILE,
    REQUIRED,
    VERIFICATION_FILE,
    pickles_among,
    read_json,
    sha256,
)
from partswap.errors import ModelError, PartswapError

if TYPE_CHECKING:
    from partswap.engine import Engine

__all__ = ["AGREEMENT", "Check", "drawn_person", "verify", "write_verification"]

FORMAT = 1
PICTURE = 1
"""The number of the drawing; another drawing gets another number, and old label maps are not compared with
it."""
AGREEMENT = 0.995
"""The least share of the pixels on which the model was sure that must have the same label again."""
_SURE = 0.02  # by so much probability was the best label ahead of the next
_UNSURE = 255
_STEP = 4  # every fourth pixel each way is kept
_MOST_RUNS = 20_000


@dataclass(frozen=True)
class Check:
    """What was checked, whether it is in order (None: there was nothing to compare with), and words about
    it."""

    name: str
    good: bool | None
    words: str


def verify(path: Path, engine: str = "auto", device: str = "auto") -> list[Check]:
    """All checks of the checkpoint in folder `path`, in the order files, hashes, values, shapes, picture.

    What depends on a failed check is left out. engine, device: what segments the picture. Raises ModelError
    for a folder that is no readable checkpoint, DeviceError or UsageError for an engine that cannot be had.
    """
    checkpoint = read_checkpoint(path)
    stored = _stored(path)
    checks = [_files(path), _hashes(checkpoint, stored), _tried("values", lambda: _values(checkpoint))]
    if all(check.good is not False for check in checks):
        checks.append(_tried("shapes", lambda: _shapes(checkpoint)))
    if all(check.good is not False for check in checks):
        from partswap.engine import open_engine

        opened = open_engine(checkpoint, engine, device, say=lambda words: None)
        checks.append(_tried("picture", lambda: _picture(checkpoint, opened, stored)))
    return checks


def write_verification(path: Path) -> Path:
    """Run the checkpoint in folder `path` with torch on the CPU and store what it should give, in one step.

    Returns the file. Raises ModelError where the checkpoint itself is not in order.
    """
    from partswap.engine.torch_engine import TorchEngine
    from partswap.imaging.save import atomic_write

    checkpoint = read_checkpoint(path)
    for check in (
        _files(path),
        _tried("values", lambda: _values(checkpoint)),
        _tried("shapes", lambda: _shapes(checkpoint)),
    ):
        if check.good is False:
            raise ModelError(check.words)
    labels = _labels(checkpoint, TorchEngine(checkpoint, "cpu"))
    record = {
        "format": FORMAT,
        "weights": sha256(checkpoint.weights),
        "config": _config_hash(path),
        "picture": PICTURE,
        "height": labels.shape[0],
        "width": labels.shape[1],
        "runs": _runs(labels),
    }
    file = path / VERIFICATION_FILE
    with atomic_write(file) as temporary:
        temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
    return file


def drawn_person(height: int, width: int) -> np.ndarray:
    """A person on a lawn before a wall, as far as rectangles and ellipses go: uint8 (height, width, 3).

    Whole numbers only, so that every machine draws the same pixels.
    """
    y, x = np.mgrid[:height, :width].astype(np.int64)
    y, x = (
        y * 1000 // height,
        (x - width // 2) * 1000 // height,
    )  # thousandths of the height, x from the middle
    grain = (y * 7 + x * 13 + (x * y) // 97) % 23
    picture = np.stack([150 + y // 12, 165 + y // 20, 180 - y // 30], axis=-1)
    picture[y > 780] = (96, 128, 72)

    def paint(where: np.ndarray, colour: tuple[int, int, int]) -> None:
        picture[where] = colour

    def ellipse(cy: int, cx: int, ry: int, rx: int) -> np.ndarray:
        return (y - cy) ** 2 * rx**2 + (x - cx) ** 2 * ry**2 <= ry**2 * rx**2

    for side in (-1, 1):
        across = x * side
        lean = (y - 260) // 6  # arms hang a little away from the body
        paint((y > 230) & (y < 540) & (across > 70 + lean) & (across < 118 + lean), (172, 60, 52))
        paint(ellipse(560, side * 142, 28, 22), (214, 170, 140))
        paint((y > 520) & (y < 890) & (across > 8) & (across < 78 - (y - 520) // 14), (52, 66, 110))
        paint(ellipse(905, side * 44, 20, 44), (40, 34, 32))
    paint((y > 215) & (y < 530) & (np.abs(x) < 92 - np.abs(y - 400) // 12), (186, 66, 58))
    paint((y > 180) & (y < 225) & (np.abs(x) < 26), (206, 160, 130))
    paint(ellipse(130, 0, 72, 54), (218, 174, 146))
    paint(ellipse(104, 0, 62, 60) & (y < 112), (70, 48, 36))
    return np.clip(picture + grain[..., None] - 11, 0, 255).astype(np.uint8)


def _files(path: Path) -> Check:
    """No pickle may lie beside the weights: other programs might open it."""
    pickles = pickles_among(entry.name for entry in path.iterdir())
    if pickles:
        return Check("files", False, f"{path} holds {', '.join(pickles[:3])}: pickled weights can run code")
    return Check("files", True, ", ".join(REQUIRED))


def _hashes(checkpoint: Checkpoint, stored: dict[str, Any] | None) -> Check:
    """Weights and configuration are those of `verification.json`, and in the hub's cache every file is what
    the hub promised."""
    from partswap.checkpoint.hub import damaged_files

    hub = checkpoint.hub
    damaged = damaged_files(checkpoint.path) if hub is not None else []
    if damaged:
        return Check("hashes", False, f"{', '.join(damaged)} does not have the hash that the hub promised")
    if stored is None:
        words = f"{VERIFICATION_FILE} is missing, so there is nothing to compare with"
        return Check(
            "hashes", None if hub is None else True, words if hub is None else f"as promised for {hub}"
        )
    found = {"weights": sha256(checkpoint.weights), "config": _config_hash(checkpoint.path)}
    changed = [key for key, value in found.items() if stored.get(key) != value]
    if changed:
        return Check(
            "hashes", False, f"{' and '.join(changed)} changed since {VERIFICATION_FILE} was written"
        )
    return Check("hashes", True, f"weights {found['weights'][:12]}, config {found['config'][:12]}")


def _values(checkpoint: Checkpoint) -> str:
    tensors = checkpoint.tensors()
    return f"{sum(t.numel() for t in tensors.values()):,} finite numbers in {len(tensors)} tensors"


def _shapes(checkpoint: Checkpoint) -> str:
    from partswap.engine.loading import load_renderer, load_student

    load_student(checkpoint)
    if load_renderer(checkpoint) is not None:
        return "student and renderer fit config.json"
    if checkpoint.tensors("renderer."):
        raise ModelError(f"{checkpoint.weights} holds a renderer that config.json does not describe")
    return "the student fits config.json"


def _picture(checkpoint: Checkpoint, engine: Engine, stored: dict[str, Any] | None) -> str | Check:
    found = _labels(checkpoint, engine)
    seen = len(np.setdiff1d(found, [0, _UNSURE]))
    where = f"{engine.name} on {engine.device}"
    if stored is None or stored.get("picture") != PICTURE:
        return Check("picture", None, f"{seen} parts in the drawn picture ({where}), nothing to compare with")
    expected = _labels_of(stored)
    if expected.shape != found.shape:
        raise ModelError(f"{VERIFICATION_FILE} is of another size than the net's input")
    # Where one of the two was not sure, a difference says nothing
    sure = (expected != _UNSURE) & (found != _UNSURE)
    if sure.mean() < 0.5 * (expected != _UNSURE).mean():
        raise ModelError("the model is unsure where it once was sure")
    share = float((expected == found)[sure].mean()) if sure.any() else 1.0
    if share < AGREEMENT:
        raise ModelError(
            f"of the drawn picture {share:.2%} of the pixels get the label that they once got ({where}), "
            f"at least {AGREEMENT:.1%} must"
        )
    return f"{share:.2%} of the drawn picture as stored, {seen} parts ({where})"


def _labels(checkpoint: Checkpoint, engine: Engine) -> np.ndarray:
    """The label map of the drawn picture at every fourth pixel: uint8, 255 where the model is not sure."""
    multiple = checkpoint.config.multiple
    height = -(-checkpoint.config.input_long_side // multiple) * multiple
    width = max(multiple, height * 6 // 10 // multiple * multiple)
    part_map = engine.run(drawn_person(height, width)[None])[0][:, _STEP // 2 :: _STEP, _STEP // 2 :: _STEP]
    if not np.isfinite(part_map).all():
        raise ModelError("the net gives NaN or infinite values for the drawn picture")
    best = np.sort(part_map, axis=0)[-2:]
    return np.where(best[1] - best[0] < _SURE, _UNSURE, part_map.argmax(0)).astype(np.uint8)


def _runs(labels: np.ndarray) -> list[int]:
    """The label map row by row as label, length, label, length, ..."""
    flat = labels.ravel()
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    return np.stack([flat[starts], np.diff(np.append(starts, flat.size))], 1).ravel().tolist()


def _labels_of(stored: dict[str, Any]) -> np.ndarray:
    """The label map of `verification.json`; ModelError for one that makes no sense."""
    sides: list[Any] = [stored.get("height"), stored.get("width")]
    runs: Any = stored.get("runs")
    good = (
        all(type(side) is int and 0 < side <= 4096 for side in sides)
        and isinstance(runs, list)
        and 0 < len(runs) <= 2 * _MOST_RUNS
        and len(runs) % 2 == 0
        and all(type(value) is int and 0 <= value <= 4096**2 for value in runs)
        and max(runs[::2]) <= _UNSURE
        and sum(runs[1::2]) == sides[0] * sides[1]
    )
    if not good:
        raise ModelError(
            f"{VERIFICATION_FILE} is damaged; make it again with: partswap models verify --write"
        )
    return np.repeat(np.array(runs[::2], np.uint8), runs[1::2]).reshape(sides)


def _stored(path: Path) -> dict[str, Any] | None:
    """What `verification.json` holds; None without one. ModelError for another format."""
    if not (path / VERIFICATION_FILE).is_file():
        return None
    data = read_json(path / VERIFICATION_FILE)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ModelError(f"{path / VERIFICATION_FILE} is of a format that this partswap does not know")
    return data


def _config_hash(path: Path) -> str:
    """Of what `config.json` says, not of its bytes: a checkout may change the ends of lines; but for what a
    person may say later (`partswap parts closer`), as of names, which the net itself knows nothing of."""
    said = read_json(path / CONFIG_FILE)
    if isinstance(said, dict):
        said = {key: value for key, value in said.items() if key != "closer"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _tried(name: str, work: Callable[[], str | Check]) -> Check:
    try:
        done = work()
    except PartswapError as error:
        return Check(name, False, str(error))
    return done if isinstance(done, Check) else Check(name, True, done)

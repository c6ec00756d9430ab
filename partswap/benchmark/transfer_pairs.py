"""Transfer with a known answer: two photos of one person in the same clothes (PROTOCOL.md).

Parts from photo 0 onto photo 1 should give photo 1 back. The chosen region of photo 1 is overwritten first
with a seeded colour and stripes, or a method that keeps the target's texture would already hold the answer.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from partswap.benchmark.transfer_metrics import masked_l1, psnr
from partswap.errors import PartswapError
from partswap.imaging import load_image
from partswap.imaging.opencv import opencv
from partswap.segmentation import Model
from partswap.transfer.pair import Options, Pair
from partswap.transfer.render import render
from partswap.transfer.silhouette import border_width

__all__ = ["METHODS", "find_pairs", "score_pairs"]

METHODS = (
    "transfer",
    "mean colour",
    "plain decoder",
    "nothing (overwritten)",
    "oracle (transfer + optical flow to the truth)",
    "ceiling (photo 1 as JPEG, quality 75)",
)


def find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """NAME_0, NAME_1 in folder/images."""
    images = {path.stem: path for path in sorted((folder / "images").iterdir())}
    return [
        (path, images[stem[:-2] + "_1"])
        for stem, path in images.items()
        if stem.endswith("_0") and stem[:-2] + "_1" in images
    ]


@dataclass(frozen=True)
class _Case:
    pair: Pair
    truth: np.ndarray
    overwritten: np.ndarray
    mask: np.ndarray


Distance = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""Of a picture, uint8 (H, W, 3), from the truth, inside a mask."""


def score_pairs(
    model: Model,
    pairs: Iterable[tuple[Path, Path]],
    parts: str,
    perceptual: Mapping[str, Distance],
    seed: int,
) -> dict[str, Any]:
    """Mean L1, PSNR and perceptual distances by method, and the largest change outside the parts."""
    distances = {"l1": masked_l1, "psnr": psnr, **perceptual}
    scores: dict[str, list[list[float]]] = {name: [] for name in METHODS}
    outside = 0
    for first, second in pairs:
        case = _case(model, first, second, parts, seed)
        if case is None:
            continue
        pictures, changed = _pictures(case, parts, seed)
        outside = max(outside, changed)
        for name, picture in pictures.items():
            scores[name].append([far(picture, case.truth, case.mask) for far in distances.values()])
    rows = {
        name: dict(zip(distances, np.mean(values, axis=0).tolist(), strict=True))
        for name, values in scores.items()
        if values
    }
    return {"pairs": len(scores["transfer"]), "parts": parts, "seed": seed, "outside": outside, "rows": rows}


def _case(model: Model, first: Path, second: Path, parts: str, seed: int) -> _Case | None:
    source, true = model.segment(first), model.segment(second)
    pair = Pair(source, true, model.engine)
    try:
        ids = pair.transfer(parts, None, Options(strength=0), picky=False).record["parts"]
    except PartswapError:
        return None
    mask = np.isin(pair.subjects[1].labels, [i for part in ids for i in part["target_ids"]])
    if mask.mean() < 0.01:
        return None
    truth = true.image.rgb
    rng = np.random.default_rng((seed, zlib.crc32(os.fsencode(second.stem))))
    overwritten = _overwritten(truth, _grown(mask), rng)
    changed = Pair(source, replace(true, image=replace(true.image, rgb=overwritten)), model.engine)
    # Part maps are those of the true photo: labels snapped to the stripes' edge would be others.
    changed.subjects = changed.subjects[0], replace(changed.subjects[1], labels=pair.subjects[1].labels)
    return _Case(changed, truth, overwritten, mask)


def _grown(mask: np.ndarray) -> np.ndarray:
    """The mask and the border around it that a transfer may repaint. Stripes further out would stay whatever
    a method does, and count against each."""
    cv2 = opencv()
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return away <= border_width(mask.shape[:2])


def _overwritten(rgb: np.ndarray, region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A seeded colour with seeded stripes inside a region."""
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 24)
    stripes = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period) > 0
    colours = rng.integers(0, 256, (2, 3)).astype(np.uint8)
    out = rgb.copy()
    out[region] = colours[stripes[region].astype(int)]
    return out


def _pictures(case: _Case, parts: str, seed: int) -> tuple[dict[str, np.ndarray], int]:
    done = case.pair.transfer(parts, None, Options(seed=seed), picky=False)
    source, target = case.pair.subjects
    base, mask = case.overwritten, case.mask
    pictures = {"transfer": done.image, "mean colour": base.copy(), "nothing (overwritten)": base}
    for part in done.record["parts"]:
        inside = np.isin(target.labels, part["target_ids"])
        here = inside | (_grown(inside) & ~mask)
        there = np.isin(source.labels, part["source_ids"])
        there = there if there.any() else source.labels > 0  # a trace: shown nowhere for sure
        pictures["mean colour"][here] = source.rgb[there].mean(axis=0).round()
    painted = _decoded(case.pair)
    if painted is not None:
        pictures["plain decoder"] = np.where(_grown(mask)[..., None], painted, base)
    pictures["oracle (transfer + optical flow to the truth)"] = _oracle(done.image, case.truth)
    pictures["ceiling (photo 1 as JPEG, quality 75)"] = _recoded(case.truth)
    border = done.record["border_pixels"]
    cv2 = opencv()
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > border
    difference = np.abs(done.image.astype(int) - base)[away]
    return pictures, int(difference.max()) if difference.size else 0


def _decoded(pair: Pair) -> np.ndarray | None:
    assert pair.engine is not None
    painted = render(pair.engine, *pair.subjects, {})
    if painted is None:
        return None
    height, width = pair.subjects[1].photo
    return opencv().resize(painted, (width, height), interpolation=opencv().INTER_LINEAR)


def _oracle(picture: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What a perfect small correction of the warp could reach: optical flow from the answer to the
    result."""
    cv2 = opencv()
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    before, after = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (truth, picture))
    move = flow.calc(before, after, None)
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]].astype(np.float32)
    return cv2.remap(
        picture, x + move[..., 0], y + move[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _recoded(rgb: np.ndarray) -> np.ndarray:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=75)
    return load_image(buffer.getvalue()).rgb

"""Transfer between different people: colour, pattern, silhouette, pose, time."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from partswap.benchmark.transfer_metrics import colour_distance, pattern_energy
from partswap.errors import UsageError
from partswap.imaging import load_image, save_image
from partswap.imaging.opencv import opencv
from partswap.metrics.keypoints import pck
from partswap.segmentation import Model
from partswap.transfer.compose import silhouette
from partswap.transfer.pair import Options, Pair, as_subject
from partswap.transfer.silhouette import border_width

__all__ = ["random_pairs", "score_looks", "score_pose", "score_silhouette"]

_VISIBLE = 0.5


def random_pairs(photos: Sequence[Path], count: int, seed: int) -> list[tuple[Path, Path]]:
    """`count` pairs of different photos, each photo as evenly often as can be."""
    rng = np.random.default_rng(seed)
    order: list[Path] = []
    while len(order) < count + 1:
        order += [photos[i] for i in rng.permutation(len(photos))]
    return [(order[i], order[i + 1]) for i in range(count) if order[i] != order[i + 1]]


def score_looks(model: Model, pairs: Sequence[tuple[Path, Path]], parts: str) -> dict[str, Any]:
    """Mean Lab distance and geometric mean of the pattern's energy (output over source) by part and pair,
    the largest change outside, the median seconds of a pair inside this process."""
    colour, energy, seconds, outside = [], [], [], 0
    for first, second in pairs:
        start = time.perf_counter()
        pair = Pair(model.segment(first), model.segment(second), model.engine)
        done = pair.transfer(parts, None, Options(), picky=False)
        seconds.append(time.perf_counter() - start)
        source, target = pair.subjects
        ids = []
        for part in done.record["parts"]:
            ids += part["target_ids"]
            there = np.isin(source.labels, part["source_ids"])
            here = np.isin(target.labels, part["target_ids"])
            if there.sum() < 500 or here.sum() < 500:
                continue
            colour.append(colour_distance(source.rgb[there], done.image[here]))
            before, after = pattern_energy(source.rgb, there), pattern_energy(done.image, here)
            if before and after:
                energy.append(after / before)
        outside = max(outside, _change_outside(target.rgb, done.image, np.isin(target.labels, ids), done))
    return {
        "pairs": len(pairs),
        "delta_e": float(np.mean(colour)),
        "delta_e_median": float(np.median(colour)),
        "pattern_energy": float(np.exp(np.mean(np.log(energy)))),
        "pattern_energy_median": float(np.median(energy)),
        "outside": outside,
        "seconds": float(np.median(seconds)),
    }


def _change_outside(before: np.ndarray, after: np.ndarray, mask: np.ndarray, done: Any) -> int:
    cv2 = opencv()
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    allowed = 4 * max(1.0, mask.shape[0] / 800)
    away = np.abs(after.astype(int) - before)[distance > allowed]
    return int(away.max()) if away.size else 0


def score_silhouette(model: Model, photos: Sequence[Path], labels: Path) -> dict[str, float]:
    """Mean IoU with the labels' foreground: of the plain label map, and of the matte of all parts."""
    plain: list[float] = []
    matted: list[float] = []
    for photo in photos:
        path = labels / f"{photo.stem}.png"
        if not path.is_file():
            continue
        truth = np.asarray(_label(path)) > 0
        subject = as_subject(model.segment(photo), 1)
        ids = tuple(range(1, len(model.parts) + 1))
        alpha = silhouette(subject, ids, border_width(subject.photo))
        for values, into in ((subject.labels > 0, plain), (alpha > 0.5, matted)):
            small = opencv().resize(values.astype(np.float32), truth.shape[::-1], interpolation=3) > 0.5
            into.append(float((small & truth).sum() / max(1, (small | truth).sum())))
    return {"photos": len(plain), "labels": float(np.mean(plain)), "matte": float(np.mean(matted))}


def _label(path: Path) -> Any:
    from PIL import Image

    return Image.open(path)


def score_pose(model: Model, pairs: Sequence[tuple[Path, Path]], parts: str, python: Path) -> dict[str, Any]:
    """PCK at 2.5, 5 and 10 % of the longer side: joints of the target against joints of the output, both by
    MediaPipe Pose, run by another Python that has it (see `pose.py`)."""
    with tempfile.TemporaryDirectory() as folder:
        files: list[Path] = []
        for number, (first, second) in enumerate(pairs):
            done = Pair(model.segment(first), model.segment(second), model.engine).transfer(
                parts, None, Options(), picky=False
            )
            for kind, picture in (("before", load_image(second).rgb), ("after", done.image)):
                files.append(Path(folder) / f"{number:04d}.{kind}.png")
                save_image(picture, files[-1])
        found = _joints(python, files)
        sizes = np.array([load_image(path).rgb.shape[1::-1] for path in files[::2]], float)
    before, after = found[::2], found[1::2]
    visible = np.nan_to_num(before[..., 2]) >= _VISIBLE
    scores = pck(after[..., :2] * sizes[:, None], before[..., :2] * sizes[:, None], sizes, visible)
    lost = int(np.isnan(after[..., 0]).all(axis=1).sum())
    return {"pairs": len(pairs), "pck": scores.tolist(), "not_found": lost}


def _joints(python: Path, files: list[Path]) -> np.ndarray:
    script = Path(__file__).with_name("pose.py")
    done = subprocess.run(
        [str(python), str(script)], input="\n".join(map(str, files)), capture_output=True, text=True
    )
    if done.returncode:
        raise UsageError(f"the pose estimator failed: {done.stderr.strip().splitlines()[-1:]}")
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[") or line == "null"]
    nothing = np.full((33, 3), np.nan)
    return np.stack([nothing if row is None else np.array(row, float) for row in rows])

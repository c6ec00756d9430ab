"""How good the foreground is that training learns from, against label maps: found in photos alone, or given
and cross-checked.

    python benchmarks/masks.py PHOTOS --labels DIR                     # estimated, as without --masks
    python benchmarks/masks.py PHOTOS --labels DIR --masks DIR         # as given, and cross-checked

Labels are PNGs of photos' stems: 0 is background, 255 does not count. Figures are means over photos of the
IoU of foreground, in the frame of ``--size``. Every photo needs a label map.
Training cross-checks the mean of masks and student, not masks alone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from partswap.benchmark.dataset import read_label
from partswap.discovery.model import FrozenFeatures
from partswap.errors import PartswapError
from partswap.nets.encoder import Encoder
from partswap.training.cross_check import unsupported
from partswap.training.data import PhotoSet, load_photos
from partswap.training.foreground import estimate_masks
from partswap.training.options import check_size, parse_size
from partswap.training.pretrained import load_into, pretrained_weights
from partswap.training.views import step_generator

BACKBONE = "tf_efficientnet_lite0"
WORKERS = 2


def fitted(photos: Path, labels: Path, size: tuple[int, int], what: str) -> PhotoSet:
    """The photos with masks of where their labels are foreground ("on"), or count ("counts")."""
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(labels.glob("*.png")):
            label = read_label(path)
            on = label != 255 if what == "counts" else (label > 0) & (label < 255)
            Image.fromarray(on.astype(np.uint8) * 255).save(Path(folder) / path.name)
        return load_photos(photos, size, masks=Path(folder), ignore=[labels], workers=WORKERS)


def iou(masks: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """bool (N, 1, H, W) each -> (N,)."""
    both, either = masks & truth & counts, (masks | truth) & counts
    return both.sum((1, 2, 3)) / either.sum((1, 2, 3)).clamp(min=1)


def main() -> None:
    """Read the options, print a line or three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--masks", type=Path)
    parser.add_argument("--size", default="320x224")
    parser.add_argument("--pretrained", default="auto")
    options = parser.parse_args()
    try:
        measure(parser, options)
    except PartswapError as error:
        parser.error(str(error))


def measure(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """What :func:`main` prints."""
    size = parse_size(options.size)
    check_size("--size", size)
    if not any(options.labels.glob("*.png")):
        parser.error(f"{options.labels} has no PNG; give a folder of label maps")
    weights = pretrained_weights(options.pretrained, BACKBONE)
    on = fitted(options.photos, options.labels, size, "on")
    counted = fitted(options.photos, options.labels, size, "counts").masks
    others = [options.labels, *([options.masks] if options.masks else [])]
    photos = load_photos(options.photos, size, masks=options.masks, ignore=others, workers=WORKERS)
    if photos.names != on.names:
        parser.error("every photo needs a label map and, with --masks, a mask, of its stem")
    assert on.masks is not None
    assert counted is not None
    truth, counts = on.masks > 127, (counted > 127) & (photos.inside > 0)
    if photos.masks is None:
        frozen = FrozenFeatures(BACKBONE)
        load_into(frozen.encoder, weights)
        g = step_generator(0, 901, 0, torch.device("cpu"))
        found = estimate_masks(photos, frozen.settle(torch.float32), g, workers=WORKERS)
        score = iou(found > 127, truth, counts)
        print(f"estimated: {score.mean():.4f} of {len(score)} photos, {(score < 0.5).sum()} below .5")
        return
    encoder = Encoder(BACKBONE)
    load_into(encoder, weights)
    gone = unsupported(encoder, photos, torch.ones(len(photos), dtype=torch.bool), 0)
    given = photos.masks > 127
    gone &= given
    before, after = (iou(masks, truth, counts) for masks in (given, given & ~gone))
    scored = gone & counts
    share = float((scored & ~truth).sum() / scored.sum().clamp(min=1))
    print(f"given: {before.mean():.4f} of {len(before)} photos; cross-checked: {after.mean():.4f}")
    better, worse = int((after > before).sum()), int((after < before).sum())
    print(
        f"{int(scored.flatten(1).any(1).sum())} photos change, {better} for the better, {worse} for the worse"
    )
    print(f"of what goes, {share:.3f} is background")


if __name__ == "__main__":
    main()

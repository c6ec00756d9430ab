"""Foreground masks from the photos alone, for folders that have none.

What is photographed tends to be in the middle, and what reaches the border tends to be background (the prior
of PDiscoFormer, Aniraj et al., ECCV 2024, and of saliency before it). Three steps make masks of that, without
any label:

1. Over all photos, a logistic regression on frozen features learns to tell the middle from the border, and
   learns again, a few times, from its own judgement together with the prior: features that occur at borders
   as well lose their say.
2. In each photo, GrabCut (Rother et al., SIGGRAPH 2004) snaps that judgement to the colours of this photo.
3. The student, later, averages over the masks of all photos, which removes errors that are not systematic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from partswap.discovery.model import FrozenFeatures, of_unit_norm
from partswap.discovery.step import normalise
from partswap.imaging.opencv import opencv
from partswap.training.data import PhotoSet

ROUNDS = 6
DIRECTIONS = 48
SAMPLES = 60_000
GRABCUT_ROUNDS = 3
ALTERNATIONS = 4
"""How often the regression and GrabCut take turns."""
LOOKED_AT = 256
"""Frames with a longer side below this are enlarged to it, or just beyond, so that a leg is more than one
cell of features."""
PRIOR_WIDTH = (0.55, 0.85)
"""Half axes of the prior's ellipse, as shares of half the photo's width and height."""


def place_prior(inside: Tensor) -> Tensor:
    """Log odds that a pixel is foreground, from its place in the photo alone.

    Args:
        inside: (N, 1, h, w) in [0, 1], where the frame holds the photo and not its repeated edge.

    Returns:
        float32 (N, 1, h, w), about +2 in the middle and -4 at the photo's border.
    """
    n, _, h, w = inside.shape
    on = inside > 0.5
    rows, columns = on.any(3, keepdim=True).float(), on.any(2, keepdim=True).float()
    ys = torch.arange(h, device=inside.device).view(1, 1, h, 1).float()
    xs = torch.arange(w, device=inside.device).view(1, 1, 1, w).float()

    def centred(at: Tensor, present: Tensor, dim: int) -> Tensor:
        count = present.sum(dim, keepdim=True).clamp(min=1.0)
        middle = (at * present).sum(dim, keepdim=True) / count
        return (at - middle) / (count / 2)  # -1 .. 1 over the photo

    y, x = centred(ys, rows, 2).expand(n, 1, h, w), centred(xs, columns, 3).expand(n, 1, h, w)
    radius = ((x / PRIOR_WIDTH[0]).square() + (y / PRIOR_WIDTH[1]).square()).sqrt()
    odds = (4.0 * (1.0 - radius)).clamp(-4.0, 2.0)
    # Photos often cut their subject at the bottom, seldom at the sides: only the sides and the top are surely
    # background.
    border = (x.abs() > 0.92) | (y < -0.96)
    return torch.where(border | ~on, torch.full_like(odds, -4.0), odds)


def _enlargement(size: tuple[int, int]) -> int:
    """By how much frames of ``size`` are enlarged, a whole number."""
    return math.ceil(LOOKED_AT / max(size))


@torch.no_grad()
def _features(photos: PhotoSet, frozen: FrozenFeatures, batch: int = 32) -> Tensor:
    """Frozen features of all photos, enlarged if small, at stride 8, half precision: (N, C, h, w)."""
    scale = _enlargement((photos.images.shape[-2], photos.images.shape[-1]))
    found = []
    for images in photos.images.split(batch):
        x = images.float() / 255
        if scale > 1:
            x = F.interpolate(x, scale_factor=float(scale), mode="bilinear", align_corners=False)
        found.append(frozen.stack([of_unit_norm(level.float()) for level in frozen(normalise(x))]).half())
    return torch.cat(found)


def _directions(features: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mean (C,) and whitening (C, D) of the features, from a sample of cells."""
    flat = features.permute(0, 2, 3, 1).flatten(0, 2)
    pick = torch.randint(len(flat), (SAMPLES,), generator=g, device=g.device)
    x = flat[pick].float()
    mean, deviation = x.mean(0), x.std(0) + 1e-5
    _, values, v = torch.linalg.svd((x - mean) / deviation, full_matrices=False)
    keep = min(DIRECTIONS, v.shape[0])
    scale = values[:keep] / len(x) ** 0.5 + 1e-3
    return mean, (v[:keep] / deviation).T / scale


def _regress(x: Tensor, target: Tensor) -> Tensor:
    """Ridge logistic regression by Newton's method: (n, D), soft targets (n,) -> weights (D,)."""
    weights = torch.zeros(x.shape[1], device=x.device)
    ridge = 1e-2 * torch.eye(x.shape[1], device=x.device)
    for _ in range(8):
        p = torch.sigmoid(x @ weights)
        gradient = x.T @ (p - target) / len(x) + 1e-2 * weights
        hessian = (x * (p * (1 - p) + 1e-3).unsqueeze(1)).T @ x / len(x) + ridge
        weights = weights - torch.linalg.solve(hessian, gradient)
    return weights


def foreground_odds(features: Tensor, prior: Tensor, g: torch.Generator, rounds: int = ROUNDS) -> Tensor:
    """Step 1: log odds of foreground for every cell, (N, C, h, w) and (N, 1, h, w) -> (N, 1, h, w)."""
    mean, whiten = _directions(features, g)
    n, _, h, w = features.shape
    cells = torch.cat(
        [((f.permute(0, 2, 3, 1).flatten(0, 2).float() - mean) @ whiten) for f in features.split(64)]
    )  # (N*h*w, D)
    cells = torch.cat([cells, torch.ones(len(cells), 1, device=cells.device)], 1)
    odds = prior.flatten()
    for _ in range(rounds):
        pick = torch.randint(len(cells), (SAMPLES,), generator=g, device=g.device)
        weights = _regress(cells[pick], torch.sigmoid(odds[pick]))
        odds = 1.5 * (cells @ weights) + 0.7 * prior.flatten()
    return odds.view(n, 1, h, w)


def _snap(
    image: NDArray[np.uint8], probability: NDArray[np.float32], inside: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Step 2: GrabCut from a probability map; (H, W, 3), (H, W), (H, W) -> mask 0 or 255 (H, W)."""
    cv2 = opencv()
    seeds = np.full(probability.shape, cv2.GC_PR_BGD, np.uint8)
    seeds[probability > 0.5] = cv2.GC_PR_FGD
    seeds[probability > 0.97] = cv2.GC_FGD
    seeds[(probability < 0.03) | (inside == 0)] = cv2.GC_BGD
    guess = np.where((probability > 0.5) & (inside > 0), 255, 0).astype(np.uint8)
    if min((seeds & 1).sum(), ((seeds & 1) == 0).sum()) < 16:
        return guess
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.grabCut(
            np.ascontiguousarray(image[..., ::-1]),
            seeds,
            None,
            *models,
            GRABCUT_ROUNDS,
            cv2.GC_INIT_WITH_MASK,
        )
    except cv2.error:  # a flat photo gives it no colours to tell apart
        return guess
    mask = np.where((seeds & 1) == 1, 255, 0).astype(np.uint8)
    kept = (mask > 0).sum() / max(1, (guess > 0).sum())
    return mask if 0.3 < kept < 2.5 else guess


def estimate_masks(
    photos: PhotoSet,
    frozen: FrozenFeatures,
    g: torch.Generator,
    *,
    workers: int,
    report: Callable[[float, str], None] = lambda share, words: None,
) -> Tensor:
    """Masks for photos that came without any.

    Returns:
        uint8 (N, 1, H, W), 0 or 255, on the photos' device.
    """
    size = (photos.images.shape[-2], photos.images.shape[-1])
    # GrabCut at half size: four times faster, and its borders are no finer than that anyway. Small frames
    # have no pixels to spare.
    small = size if _enlargement(size) > 1 else (size[0] // 2, size[1] // 2)
    features = _features(photos, frozen)
    inside = F.interpolate(photos.inside.float(), size=features.shape[-2:], mode="area")
    prior = place_prior(inside)
    images = F.interpolate(photos.images.float(), size=small, mode="area").round().to(torch.uint8)
    within = F.interpolate(photos.inside.float(), size=small, mode="area")[:, 0].round().to(torch.uint8)
    odds = foreground_odds(features, prior, g)
    masks = torch.zeros(0)
    for number in range(ALTERNATIONS):
        if number > 0:  # learn from what GrabCut found, then let it look again
            seen = F.interpolate(masks, size=features.shape[-2:], mode="area").to(prior.device)
            odds = foreground_odds(features, 0.3 * prior + 6.0 * (seen - 0.5), g, rounds=1)
        probability = F.interpolate(odds, size=small, mode="bilinear", align_corners=False).sigmoid()[:, 0]

        def part_done(share: float, before: int = number) -> None:
            report((before + share) / ALTERNATIONS, "masks")

        masks = _snap_all(images, probability, within, workers, part_done)
    full = F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
    return (full > 0.5).to(torch.uint8).mul(255).to(photos.images.device)


def _snap_all(
    images: Tensor, probability: Tensor, within: Tensor, workers: int, report: Callable[[float], None]
) -> Tensor:
    """GrabCut on every photo, on the CPU: -> float32 (N, 1, h, w), 0 or 1."""
    columns = (images.permute(0, 2, 3, 1).cpu().numpy(), probability.cpu().numpy(), within.cpu().numpy())
    masks = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for i, mask in enumerate(pool.map(_snap, *columns)):
            masks.append(mask > 0)
            if i % 16 == 0:
                report(i / len(images))
    return torch.from_numpy(np.stack(masks)).float().unsqueeze(1)

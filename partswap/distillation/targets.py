"""What the student learns from: part maps of every photo, averaged over many views, computed once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.discovery.step import normalise
from partswap.training.data import PhotoSet
from partswap.training.views import WarpRange, random_grid, resize_grid, sample

STRIDE = 4
"""Part maps of the training photos are kept at a quarter of their size."""
TURNS = (0.0, -45.0, 45.0, -90.0, 90.0)
"""Rotations, degrees, at which a photo is offered to the teacher: who lies or bends is upright in one of
them."""
TURN_MARGIN = 0.03
"""How much more confident (mean of the largest posterior) the teacher must be to prefer a turned photo."""
SURE = 0.82
"""Part maps with less confidence than this share of the upper quartile's are in doubt: those of people who
lie or hang upside down are often wrong, while hardly anybody who stands is that unsure."""
TOO_UNSURE = 0.6
"""With less than this they are mostly wrong."""
MOST = 0.5
"""Between the two, a pixel's kind of part is right mostly where its share is more than this."""
CUT = 0.25
"""A foreground whose last row is wider than this, as a share of its widest row, goes on below the photo."""
AVERAGED = WarpRange(zoom=(0.8, 1.2), rotate=12.0, shift=0.08, stretch=0.15, flip=0.5)


def _turn_grid(degrees: float, n: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Grid that turns frames about their centre, shrunk so that nothing of the subject leaves the frame:
    (n, H, W, 2)."""
    h, w = size
    a = math.radians(degrees)
    shrink = 1.0 + 0.35 * abs(math.sin(a))
    theta = torch.tensor(
        [[math.cos(a), -math.sin(a) * h / w, 0.0], [math.sin(a) * w / h, math.cos(a), 0.0]], device=device
    )
    return F.affine_grid((theta * shrink).expand(n, 2, 3), [n, 1, h, w], align_corners=False)


def _invert_grid(grid: Tensor) -> Tensor:
    """Inverse of an affine sampling grid: from three of its points, exactly; (n, H, W, 2) -> (n, H, W, 2)."""
    n, h, w, _ = grid.shape
    # The grid is affine in the output coordinates: read the matrix off its corners.
    xs = 1.0 - 1.0 / w
    ys = 1.0 - 1.0 / h
    tl, tr, bl = grid[:, 0, 0], grid[:, 0, -1], grid[:, -1, 0]
    dx, dy = (tr - tl) / (2 * xs), (bl - tl) / (2 * ys)
    origin = tl + dx * xs + dy * ys
    matrix = torch.stack([dx, dy], -1)  # (n, 2, 2)
    inverse = torch.linalg.inv(matrix)
    theta = torch.cat([inverse, -(inverse @ origin.unsqueeze(-1))], -1)
    return F.affine_grid(theta, [n, 1, h, w], align_corners=False)


def _through(
    predict: Callable[[Tensor], Tensor],
    photo: Tensor,
    grid: Tensor,
    size: tuple[int, int],
    precision: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Predict on a warped photo and warp the posterior back.

    Returns:
        posterior (n, K, h, w) in the photo's frame, and where it is known (n, 1, h, w).
    """
    with torch.autocast(photo.device.type, torch.bfloat16, enabled=precision is torch.bfloat16):
        part = predict(sample(photo, grid)).float()
    back = resize_grid(_invert_grid(grid), size)
    ones = torch.ones_like(part[:, :1])
    both = sample(torch.cat([part, ones], 1), back, padding="zeros")
    return both[:, :-1], both[:, -1:]


def confidence(posterior: Tensor, mask: Tensor) -> Tensor:
    """Mean of the largest posterior over the foreground: (n, K, h, w), (n, 1, h, w) -> (n,)."""
    best = posterior.amax(1, keepdim=True)
    return (best * mask).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) + 1e-6)


def _best_turn(
    predict: Callable[[Tensor], Tensor], photo: Tensor, mask: Tensor, scale: float, precision: torch.dtype
) -> Tensor:
    """The turn of TURNS at which the teacher is surest of each photo, in degrees: (n,)."""
    multiple = 32
    h, w = (max(multiple, round(s * scale / multiple) * multiple) for s in photo.shape[-2:])
    small = F.interpolate(photo, size=(h, w), mode="bilinear", antialias=True) if scale < 1 else photo
    size = (h // STRIDE, w // STRIDE)
    mask = F.interpolate(mask, size=size, mode="area")
    best = torch.full((len(photo),), -1.0, device=photo.device)
    degrees = torch.zeros_like(best)
    for angle in TURNS:
        grid = _turn_grid(angle, len(photo), (h, w), photo.device)
        posterior, _ = _through(predict, small, grid, size, precision)
        sure = confidence(posterior, mask) - (TURN_MARGIN if angle else 0.0)
        degrees = torch.where(sure > best, torch.full_like(degrees, angle), degrees)
        best = torch.maximum(best, sure)
    return degrees


@torch.no_grad()
def part_targets(
    predict: Callable[[Tensor], Tensor],
    photos: PhotoSet,
    g: torch.Generator,
    *,
    views: int = 8,
    mirror: bool = True,
    turn: bool = True,
    turn_at: float = 1.0,
    precision: torch.dtype = torch.float32,
    batch: int = 32,
    report: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Part posterior of every photo inside its foreground, averaged over views.

    Args:
        predict: normalised photos (n, 3, H, W) -> posteriors (n, K, h, w), without background.
        views: how many random warps are averaged; mirror: mirror images share parts, so average over them
            too; turn: offer the photo turned first, and keep the turn the teacher is surest of; turn_at: at
            which scale it is offered.

    Returns:
        uint8 (N, K, H/4, W/4), 255 = certain; each pixel sums to about 255.
    """
    assert photos.masks is not None
    h, w = photos.images.shape[-2:]
    size = (h // STRIDE, w // STRIDE)
    span = AVERAGED if mirror else WarpRange(**{**AVERAGED.__dict__, "flip": 0.0})
    out = []
    for start in range(0, len(photos), batch):
        photo = normalise(photos.images[start : start + batch].float() / 255)
        mask = F.interpolate(photos.masks[start : start + batch].float() / 255, size=size, mode="area")
        n = len(photo)
        upright = _turn_grid(0.0, n, (h, w), photo.device)
        if turn:
            degrees = _best_turn(predict, photo, mask, turn_at, precision)
            for angle in TURNS[1:]:
                grid = _turn_grid(angle, n, (h, w), photo.device)
                upright = torch.where((degrees == angle).view(-1, 1, 1, 1), grid, upright)
        total = photo.new_zeros(())
        weight = photo.new_full((), 1e-4)
        for _ in range(views):
            jitter, _ = random_grid(n, (h, w), span, g)
            # The random warp looks into the turned frame, which looks into the photo.
            grid = _compose(upright, jitter)
            posterior, known = _through(predict, photo, grid, size, precision)
            total, weight = total + posterior, weight + known
        mean = total / weight
        mean = mean / (mean.sum(1, keepdim=True) + 1e-4)
        out.append((mean * 255).round().to(torch.uint8))
        if report is not None:
            report(min(start + batch, len(photos)), len(photos))
    return torch.cat(out)


def _compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The affine grid that looks through ``inner`` and then through ``outer``; both (n, H, W, 2), both
    affine."""
    n, h, w, _ = outer.shape
    xs, ys = 1.0 - 1.0 / w, 1.0 - 1.0 / h
    dx = (outer[:, 0, -1] - outer[:, 0, 0]) / (2 * xs)
    dy = (outer[:, -1, 0] - outer[:, 0, 0]) / (2 * ys)
    origin = outer[:, 0, 0] + dx * xs + dy * ys
    x, y = inner[..., :1], inner[..., 1:]
    return origin.view(n, 1, 1, 2) + x * dx.view(n, 1, 1, 2) + y * dy.view(n, 1, 1, 2)


def doubtful(targets: Tensor, photos: PhotoSet, completed: Tensor | None = None) -> Tensor:
    """Which part maps had better not be trusted: bool (N,).

    They are those that the teacher is not sure of, and those of photos that end before their subject does
    (:func:`ends_below`), unless most do: then that is how these subjects are shown, and the parts are learned
    from it.

    Args:
        targets: uint8 (N, K, h, w), of :func:`part_targets`; completed: bool (N,), of
            :func:`partswap.distillation.grafts.complete_from_donors`: these end, but were seen completed.
    """
    unsure, cut = _sureness(targets, photos) < SURE, ends_below(photos)
    if cut.float().mean() > 0.5:
        return unsure
    return unsure | (cut if completed is None else cut & ~completed)


def doubts(targets: Tensor, photos: PhotoSet, completed: Tensor) -> tuple[Tensor, Tensor]:
    """What a student that knows all poses a little had better not learn: two of bool (N,), the part maps that
    are to be left open as a whole, and those of which the rest of :func:`settled` is.

    Args:
        targets, completed: of :func:`doubtful`; photos that end, and were not seen completed, are left open
            unless the student is as sure of them as it mostly is.
    """
    sure, cut = _sureness(targets, photos), ends_below(photos)
    whole = sure < torch.where(cut & ~completed, SURE, TOO_UNSURE)
    return whole, (sure < SURE) & ~whole


def settled(targets: Tensor, kinds: Sequence[int]) -> Tensor:
    """Where one kind of part has most of the share: bool (N, h, w).

    Args:
        targets: uint8 (N, K, h, w); kinds: K numbers from 0, equal for parts of one kind.
    """
    of = torch.tensor(kinds, device=targets.device)
    most = torch.stack([targets[:, of == kind].sum(1, dtype=torch.int32) for kind in of.unique()])
    return most.amax(0) > 255 * MOST


def _sureness(targets: Tensor, photos: PhotoSet) -> Tensor:
    """Confidence of part maps as a share of the upper quartile's: float (N,)."""
    assert photos.masks is not None
    size = (targets.shape[-2], targets.shape[-1])
    found = torch.cat(
        [
            confidence(some.float() / 255, F.interpolate(mask.float() / 255, size=size, mode="area"))
            for some, mask in zip(targets.split(64), photos.masks.split(64), strict=True)
        ]
    )
    return found / found.quantile(0.75)


def slenderness(photos: PhotoSet) -> Tensor:
    """How many times as high as wide each photo's subject is, float (N,), by the box of its mask; 0 where
    there is none."""
    assert photos.masks is not None
    on = photos.masks[:, 0] > 127
    return on.any(2).sum(1) / on.any(1).sum(1).clamp(min=1)


def ends_below(photos: PhotoSet) -> Tensor:
    """Which photos end before their subject does, at the lower edge: bool (N,).

    Their masks are known, their part maps are not to be trusted: such a body is taken for a whole one,
    with feet where the photo ends.
    """
    assert photos.masks is not None
    on = ((photos.masks > 127) & (photos.inside > 0))[:, 0]
    rows = on.sum(2)  # (N, H)
    last = photos.inside[:, 0].amax(2).cumsum(1).argmax(1, keepdim=True)  # the photo's own last row
    edge = (rows.gather(1, last) + rows.gather(1, (last - 1).clamp(min=0))) / 2
    return edge[:, 0] > CUT * rows.amax(1).clamp(min=1)

"""Parts grouped once more, in what a net sees of them from near.

In a photo of somebody whole a face is a few pixels of the net's map, and a chin may share its part with the
collar. Enlarged, the net tells them apart: clusters of its features there (as in
:mod:`partswap.distillation.regroup`) are chin, throat, collar. Which of them is called what, a person says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2
from torch import Tensor

from partswap.discovery.model import of_unit_norm
from partswap.discovery.step import normalise
from partswap.distillation.targets import STRIDE
from partswap.errors import UsageError
from partswap.nets.segmenter import Segmenter
from partswap.training.data import PhotoSet
from partswap.training.views import grid_at, inside, sample

SIDE = 192
"""Rows and columns of an enlarged view."""
MARGIN = 1.1
"""How much larger than the parts it is."""
ENDS = 0.02
"""The parts end where so much of their area lies beyond: single pixels far off do not count."""
LEAST = 0.003
"""Of the foreground: with less than this the parts are not there."""
SAME = 0.6
"""A view is believed where it agrees with the part map in this share: who looks down does not look from near
as a head on shoulders does."""
TURNED = (-90.0, 90.0, -45.0, 45.0)
"""Degrees by which a view that is not believed is looked at again: who lies does not either, but does when
turned. Of a long part that lies askew the turned square leaves out the ends, which stay as they are."""
FITTED_ON = 300
PIXELS = 60_000
"""Photos, and pixels of them, that the clusters are fitted on."""
TRIES = 6
MANY = 50
"""Least number of pixels for each cluster, on average."""
AT_ONCE = 8
"""Photos that are looked at together."""
OPEN = 0.1
"""Where it is not believed, what has more than this share of the parts is left open."""
SOME = 1e-3
"""Of a part that a place is not thought to be."""


@dataclass(frozen=True)
class Clusters:
    """What was found from near.

    Attributes:
        of: ids of the parts that were grouped once more, from 1; centres: float32 (n, D), in the net's
            features, the topmost first; revision: of the model whose features these are.
    """

    of: tuple[int, ...]
    centres: Tensor
    revision: str

    def nearest(self, features: Tensor) -> Tensor:
        """The cluster of each place: (B, D, h, w) -> int64 (B, h, w)."""
        squared = self.centres.square().sum(1).view(1, -1, 1, 1)
        products = torch.einsum("nd,bdhw->bnhw", self.centres.to(features), features)
        return (squared.to(features) - 2 * products).argmin(1)


@dataclass(frozen=True)
class View:
    """Photos from near.

    Attributes:
        features: float32 (B, D, s, s); at: (B, s, s, 2), where in the photo they are, [-1, 1]; part_map:
            float32 (B, K, s, s), what the net takes each place for, without background.
    """

    features: Tensor
    at: Tensor
    part_map: Tensor


def squares_around(targets: Tensor, of: Sequence[int], masks: Tensor) -> tuple[Tensor, Tensor]:
    """Where parts are.

    Args:
        targets: uint8 (N, K, h, w), part maps; of: ids of the parts; masks: float (N, 1, h, w) in [0, 1].

    Returns:
        float32 (N, 3), middle x and y and half the side of a square, in pixels of the part map, and bool
        (N,), whether the parts are there.
    """
    own = (_own(targets, of, masks)[:, 0] > 0.5).float()
    there = own.sum((1, 2)) > LEAST * (masks > 0.5).sum((1, 2, 3))
    left, right = _ends(own.sum(1))
    top, bottom = _ends(own.sum(2))
    half = torch.maximum(right - left, bottom - top) / 2 * MARGIN
    return torch.stack([(left + right) / 2, (top + bottom) / 2, half.clamp(min=2.0)], 1), there


def _ends(profile: Tensor) -> tuple[Tensor, Tensor]:
    """First and last place of (N, n), but for ENDS of its sum: two float (N,)."""
    above = profile.cumsum(1) / profile.sum(1, keepdim=True).clamp(min=1e-6)
    return (above < ENDS).sum(1).float(), (above < 1 - ENDS).sum(1).float() + 1


def _own(targets: Tensor, of: Sequence[int], masks: Tensor) -> Tensor:
    """The share of some parts, float (N, 1, h, w), 0 where a part map is open or there is no foreground."""
    return targets[:, [part - 1 for part in of]].float().sum(1, keepdim=True) / 255 * (masks > 0.5)


@torch.no_grad()
def from_near(
    net: Segmenter, images: Tensor, squares: Tensor, size: tuple[int, int], degrees: float = 0.0
) -> View:
    """Enlarged views of photos.

    Args:
        images: uint8 (B, 3, H, W); squares: (B, 3), of :func:`squares_around`, in pixels of a map of
            ``size``; degrees: by which the squares are turned about their middles, from right to down.
    """
    steps = (torch.arange(SIDE, device=squares.device) + 0.5) / SIDE * 2 - 1
    view = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    middle, half = squares[:, None, None, :2], squares[:, None, None, 2:]
    scale = torch.tensor([size[1], size[0]], device=squares.device)
    grid = 2 * (middle + half * _turned(view, degrees)) / scale - 1
    kept: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
        for layer in (net.fuse8, net.fuse4)
    ]
    try:
        logits = net(normalise(sample(images.float() / 255, grid))).float()
    finally:
        for hook in hooks:
            hook.remove()
    finest = (SIDE // STRIDE, SIDE // STRIDE)
    coarse = F.interpolate(kept[0].float(), size=finest, mode="bilinear", align_corners=False)
    fine = kept[1].float()
    at = F.interpolate(grid.permute(0, 3, 1, 2), size=finest, mode="area").permute(0, 2, 3, 1)
    each = [of_unit_norm(coarse), of_unit_norm(fine)]
    return View(torch.cat(each, 1), at, F.avg_pool2d(logits[:, 1:], STRIDE).softmax(1))


def _turned(points: Tensor, degrees: float | Tensor) -> Tensor:
    """Points (..., 2) turned about 0, from right to down; degrees: one number, or one for each photo, (B, 1,
    1)."""
    angle = torch.as_tensor(degrees, device=points.device) * (math.pi / 180)
    x, y = points.unbind(-1)
    return torch.stack([angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y], -1)


def cluster(
    net: Segmenter,
    photos: PhotoSet,
    targets: Tensor,
    of: Sequence[int],
    number: int,
    revision: str,
    seed: int = 0,
) -> Clusters:
    """Group the parts ``of`` once more, in ``number`` clusters.

    Args:
        photos: with masks; targets: uint8 (N, K, h, w), their part maps; revision: of the net's model.

    Raises:
        UsageError: hardly any photo shows these parts.
    """
    h, w = targets.shape[-2:]
    masks = foreground(photos, (h, w))
    squares, there = squares_around(targets, of, masks)
    chosen = there.nonzero()[:, 0]
    g = torch.Generator().manual_seed(seed)
    chosen = chosen[torch.randperm(len(chosen), generator=g)[:FITTED_ON].to(chosen.device)]
    found, heights = [], []
    for some in chosen.split(AT_ONCE):
        view = from_near(net, photos.images[some], squares[some], (h, w))
        on, known = believed(view, targets[some], of, masks[some])
        on &= known.view(-1, 1, 1)
        found.append(view.features.permute(0, 2, 3, 1)[on])
        rows = torch.linspace(0, 1, on.shape[1], device=on.device).view(1, -1, 1).expand_as(on)
        heights.append(rows[on])
    if sum(map(len, found)) < number * MANY:
        raise UsageError("hardly any photo shows these parts as the model knows them; give others.")
    features, height = torch.cat(found).cpu(), torch.cat(heights).cpu()
    some = torch.randperm(len(features), generator=g)[:PIXELS]
    data = features[some].double().numpy()
    fits = [kmeans2(data, number, seed=seed + i, minit="++") for i in range(TRIES)]
    centres, own = min(fits, key=lambda fit: float(((data - fit[0][fit[1]]) ** 2).sum()))
    middle = [float(height[some][own == i].mean()) if (own == i).any() else 1.0 for i in range(number)]
    return Clusters(tuple(of), torch.from_numpy(centres[np.argsort(middle)]).float(), revision)


def foreground(photos: PhotoSet, size: tuple[int, int]) -> Tensor:
    """Foreground at the size of part maps, float (N, 1, h, w); not of all photos as floats at once."""
    assert photos.masks is not None
    return torch.cat(
        [F.interpolate(some.float() / 255, size=size, mode="area") for some in photos.masks.split(64)]
    )


def believed(view: View, targets: Tensor, of: Sequence[int], masks: Tensor) -> tuple[Tensor, Tensor]:
    """Where views show the parts ``of`` by the part maps, bool (B, s, s), and whether they show there what
    the part maps say, bool (B,)."""
    on, same = _agreement(view, targets, of, masks)
    return on, same >= SAME


def _agreement(view: View, targets: Tensor, of: Sequence[int], masks: Tensor) -> tuple[Tensor, Tensor]:
    """Where views show the parts ``of``, bool (B, s, s), and in which share of it they show what the part
    maps say, float (B,)."""
    on = sample(_own(targets, of, masks), view.at, padding="zeros")[:, 0] > 0.5
    same = on & (sample(targets.float(), view.at).argmax(1) == view.part_map.argmax(1))
    return on, same.sum((1, 2)) / on.sum((1, 2)).clamp(min=1)


def _seen_from_near(
    net: Segmenter, images: Tensor, targets: Tensor, masks: Tensor, squares: Tensor, clusters: Clusters
) -> tuple[Tensor, Tensor, Tensor]:
    """The clusters of views, int64 (B, s, s), the degrees by which they are turned, (B,), and whether they
    are believed, bool (B,). They are turned where they are believed only when they are."""
    size = (targets.shape[-2], targets.shape[-1])

    def look(some: Tensor, turn: float) -> tuple[Tensor, Tensor]:
        view = from_near(net, images[some], squares[some], size, turn)
        return clusters.nearest(view.features), _agreement(view, targets[some], clusters.of, masks[some])[1]

    found, same = look(torch.arange(len(images), device=images.device), 0.0)
    degrees = torch.zeros_like(same)
    doubted = (same < SAME).nonzero()[:, 0]
    for turn in TURNED if len(doubted) else ():
        seen, agrees = look(doubted, turn)
        better = agrees > same[doubted]
        which = doubted[better]
        found[which], same[which], degrees[which] = seen[better], agrees[better], turn
    return found, degrees, same >= SAME


@torch.no_grad()
def redrawn(
    net: Segmenter,
    photos: PhotoSet,
    targets: Tensor,
    clusters: Clusters,
    kinds: Tensor,
    report: Callable[[int, int], None] | None = None,
) -> int:
    """Draw part maps anew, in place, by what their clusters are said to be.

    Where a photo from near shows something else than its part map says, turned or not, it is left open. What
    lies beyond the view stays as it is.

    Args:
        net: whose features the clusters are in; targets: uint8 (N, K, h, w); kinds: bool (n, K), which parts
            each cluster may be: it is shared among these as the part map thinks of them.

    Returns:
        how many part maps were left open there.
    """
    h, w = targets.shape[-2:]
    masks = foreground(photos, (h, w))
    squares, there = squares_around(targets, clusters.of, masks)
    rows, columns = torch.arange(h, device=targets.device) + 0.5, torch.arange(w, device=targets.device) + 0.5
    opened = 0
    chosen = there.nonzero()[:, 0]
    for done, some in enumerate(chosen.split(AT_ONCE)):
        given = targets[some].float() / 255
        found, degrees, known = _seen_from_near(
            net, photos.images[some], targets[some], masks[some], squares[some], clusters
        )
        shares = F.one_hot(found, len(kinds)).permute(0, 3, 1, 2).float()
        x, y, half = (each.view(-1, 1) for each in squares[some].unbind(1))
        # where in the view each place of the part map is
        back = grid_at((columns - x + half) / half, (rows - y + half) / half, (2, 2))
        back = _turned(back, -degrees.view(-1, 1, 1))
        drawn = _drawn(given, sample(shares, back), kinds.to(given), clusters.of)
        drawn = torch.where(inside(back) > 0, drawn, given)  # beyond the view nothing was seen
        own = _own(targets[some], clusters.of, masks[some])
        drawn = torch.where(known.view(-1, 1, 1, 1), drawn, given * (own <= OPEN))
        # shares of a part map add up to 256 at times
        targets[some] = (drawn * 255).round().clamp(max=255).to(torch.uint8)
        opened += int((~known).sum())
        if report is not None:
            report(min(AT_ONCE * (done + 1), len(chosen)), len(chosen))
    return opened


def _drawn(given: Tensor, shares: Tensor, kinds: Tensor, of: Sequence[int]) -> Tensor:
    """``given``, float (B, K, h, w), whose parts ``of`` are what the clusters, of shares (B, n, h, w), are:
    the parts ``kinds``, (n, K)."""
    within = torch.zeros(given.shape[1], device=given.device)
    within[[part - 1 for part in of]] = 1.0
    within = within.view(1, -1, 1, 1)
    moved = (given * within).sum(1, keepdim=True)
    # Parts that a cluster may be share it as they are thought of; where none is, all alike.
    thought = (given + SOME).unsqueeze(1) * kinds.view(1, *kinds.shape, 1, 1)
    thought = thought / thought.sum(2, keepdim=True)
    return given * (1 - within) + moved * (shares.unsqueeze(2) * thought).sum(1)

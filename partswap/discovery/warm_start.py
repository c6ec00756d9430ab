"""Where parts begin: clusters of frozen features and of the place in the foreground.

Discovery from random part maps spends most of its steps on breaking the symmetry between parts, and breaks it
badly at times. Clusters of (what the frozen encoder sees, where in the foreground's box it is) already
separate head, limbs and body roughly; the generative model starts from them and moves away as its own terms
take over.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RESTARTS = 6
"""k-means runs, of which the tightest is kept: a single one depends on its seeds."""


def foreground_frame(mask: Tensor, mirror: bool) -> Tensor:
    """Place of each cell in the foreground's own frame, which leans as the foreground does.

    Args:
        mask: (B, 1, h, w) in [0, 1]; mirror: fold left onto right, so that mirror images share parts.

    Returns:
        float32 (B, 2, h, w): height along the foreground's axis (0 its upper end, 1 its lower end) and
            distance from that axis, both in foreground heights. Moments, not extremes, define the frame, so
            that one stray pixel does not move it.
    """
    _, _, h, w = mask.shape
    weight = mask / (mask.sum((2, 3), keepdim=True) + 1e-6)
    ys = torch.arange(h, device=mask.device, dtype=torch.float32).view(1, 1, h, 1)
    xs = torch.arange(w, device=mask.device, dtype=torch.float32).view(1, 1, 1, w)

    def mean(x: Tensor) -> Tensor:
        return (weight * x).sum((2, 3), keepdim=True)

    y, x = ys - mean(ys), xs - mean(xs)
    yy, xx, xy = mean(y * y), mean(x * x), mean(x * y)
    # The axis is the direction of largest spread, named by its angle from the vertical (within a quarter
    # turn). A foreground about as wide as it is tall has no axis worth following: it counts as upright.
    lean = torch.hypot(2 * xy, yy - xx)
    angle = 0.5 * torch.atan2(2 * xy, yy - xx) * (2 * lean / (yy + xx + 1e-6)).clamp(max=1.0)
    along = y * angle.cos() + x * angle.sin()
    across = x * angle.cos() - y * angle.sin()
    order = along.flatten(1).argsort(1)
    mass = weight.flatten(1).gather(1, order).cumsum(1)  # of the cells up to each height
    sorted_along = along.flatten(1).gather(1, order)

    def quantile(share: float) -> Tensor:
        at = (mass < share).sum(1, keepdim=True).clamp(max=mass.shape[1] - 1)
        return sorted_along.gather(1, at).view(-1, 1, 1, 1)

    low = quantile(0.01)
    height = (quantile(0.99) - low).clamp(min=1.0)
    u = across / height
    return torch.cat([(along - low) / height, u.abs() if mirror else u], 1)


class Anchors(nn.Module):
    """K cluster centres over whitened frozen features and place; gives soft part posteriors for any photo.

    Args:
        channels: channels of the stacked frozen features; parts: K; keep: principal directions kept.
        feature_weight, place_weight: how much a unit of either counts in the distance.
    """

    def __init__(
        self,
        channels: int,
        parts: int,
        keep: int = 16,
        feature_weight: float = 0.5,
        place_weight: tuple[float, float] = (4.0, 8.0),
    ) -> None:
        super().__init__()
        keep = min(keep, channels)
        self.feature_weight = feature_weight
        self.register_buffer("place_weight", torch.tensor(place_weight).view(1, 2, 1, 1))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("whiten", torch.zeros(channels, keep))
        self.register_buffer("centres", torch.zeros(parts, keep + 2))
        self.register_buffer("sharpness", torch.tensor(1.0))

    place_weight: Tensor
    mean: Tensor
    whiten: Tensor
    centres: Tensor
    sharpness: Tensor

    def embed_features(self, features: Tensor) -> Tensor:
        """Frozen features (B, C, h, w) -> unit vectors (B, D, h, w) in the kept directions."""
        z = torch.einsum("bchw,cd->bdhw", features.float() - self.mean.view(1, -1, 1, 1), self.whiten)
        return F.normalize(z, dim=1, eps=1e-4)

    def _embed(self, unit_features: Tensor, place: Tensor) -> Tensor:
        return torch.cat([unit_features * self.feature_weight, place * self.place_weight], 1)

    def forward(self, unit_features: Tensor, place: Tensor) -> Tensor:
        """Unit features (B, D, h, w), place (B, 2, h, w) -> soft assignment (B, K, h, w)."""
        x = self._embed(unit_features, place)
        distance = x.square().sum(1, keepdim=True) - 2 * torch.einsum("bdhw,kd->bkhw", x, self.centres)
        distance = distance + self.centres.square().sum(1).view(1, -1, 1, 1)
        return (-distance * self.sharpness).softmax(1)

    @torch.no_grad()
    def fit(
        self, features: Tensor, mask: Tensor, mirror: bool, g: torch.Generator, samples: int = 40_000
    ) -> None:
        """Learn directions and centres from frozen features (N, C, h, w) and masks (N, 1, h, w) of some
        photos (k-means++ and Lloyd)."""
        on = mask[:, 0] > 0.5
        x = features.permute(0, 2, 3, 1)[on].float()
        pick = torch.randperm(len(x), generator=g, device=g.device)[:samples]
        x = x[pick]
        self.mean.copy_(x.mean(0))
        deviation = x.std(0) + 1e-5
        _, _, directions = torch.linalg.svd((x - self.mean) / deviation, full_matrices=False)
        self.whiten.copy_((directions[: self.whiten.shape[1]] / deviation).T)
        place = foreground_frame(mask, mirror)
        points = self._embed(self.embed_features(features), place).permute(0, 2, 3, 1)[on][pick]
        tries = [_kmeans(points, len(self.centres), g) for _ in range(RESTARTS)]
        centres = min(tries, key=lambda c: float(torch.cdist(points, c).amin(1).square().mean()))
        self.centres.copy_(centres)
        spread = torch.cdist(points, centres).min(1).values.square().mean()
        self.sharpness.copy_(2.0 / (spread + 1e-6))


def _kmeans(points: Tensor, k: int, g: torch.Generator, rounds: int = 40) -> Tensor:
    """Lloyd's algorithm from k-means++ seeds (Arthur and Vassilvitskii 2007): (N, D) -> (k, D)."""
    centres = points[torch.randint(len(points), (1,), generator=g, device=g.device)]
    for _ in range(k - 1):
        nearest = torch.cdist(points, centres).min(1).values.square() + 1e-12
        centres = torch.cat([centres, points[torch.multinomial(nearest, 1, generator=g)]])
    for _ in range(rounds):
        label = torch.cdist(points, centres).argmin(1)
        one_hot = F.one_hot(label, k).to(points.dtype)  # (N, k)
        count = one_hot.sum(0).unsqueeze(1)
        centres = torch.where(count > 0, (one_hot.T @ points) / count.clamp(min=1.0), centres)
    return centres

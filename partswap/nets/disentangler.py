"""The generative model of stage 1: shape code, part decoder, critic (the renderer has its own file)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partswap.nets.encoder import Encoder, conv_norm_act
from partswap.nets.segmenter import Fuse


class ShapeCode(NamedTuple):
    """q(pi | x): a Gaussian over the shape code, one cell per 16 x 16 px."""

    mean: Tensor
    """(B, P, H/16, W/16)"""
    log_variance: Tensor
    """(B, P, H/16, W/16), clamped to [-8, 4]"""

    def sample(self, noise: Tensor) -> Tensor:
        """The reparametrisation trick; ``noise`` is standard normal with the shape of ``mean``."""
        return self.mean + noise * (0.5 * self.log_variance).exp()


class ShapeEncoder(nn.Module):
    """E_pi: photo -> shape code. No skips finer than stride 8 feed it, so it has no bandwidth for texture."""

    def __init__(self, backbone: str, code: int, width: int) -> None:
        super().__init__()
        self.encoder = Encoder(backbone)
        _, _, c8, c16, c32 = self.encoder.channels
        self.context = conv_norm_act(c32, width, 1)
        self.fuse16 = Fuse(width, c16, width)
        # Stride 8 is folded into the cells of stride 16: a limb is often thinner than 16 px.
        self.fold8 = nn.Sequential(nn.Conv2d(c8, width // 4, 1), nn.PixelUnshuffle(2))
        self.moments = nn.Conv2d(2 * width, 2 * code, 1)

    def forward(self, x: Tensor) -> ShapeCode:
        """Normalised photos (B, 3, H, W) -> q(pi | x)."""
        _, _, f8, f16, f32 = self.encoder(x)
        y = torch.cat([self.fuse16(self.context(f32), f16), self.fold8(f8)], 1)
        mean, log_variance = self.moments(y).float().chunk(2, 1)
        return ShapeCode(mean, (log_variance - 2.0).clamp(-8.0, 4.0))


class PartDecoder(nn.Module):
    """D_S: shape code -> coarse part logits at stride 8 (coarse on purpose, see docs/research.md)."""

    def __init__(self, parts: int, code: int, width: int) -> None:
        super().__init__()
        self.mix = conv_norm_act(code, width, 3)
        self.refine = nn.Sequential(
            nn.Conv2d(width, 4 * width, 1), nn.PixelShuffle(2), conv_norm_act(width, width, 3)
        )
        self.head = nn.Conv2d(width, parts, 1)

    def forward(self, code: Tensor) -> Tensor:
        """Shape code (B, P, H/16, W/16) -> part logits (B, K, H/8, W/8), without background."""
        return self.head(self.refine(self.mix(code)))


class Critic(nn.Module):
    """T(pi, alpha): logit that shape code and appearance codes come from the same photo.

    At its optimum it is the log density ratio whose mean over joint pairs is the mutual information.
    """

    def __init__(self, parts: int, code: int, appearance: int, width: int = 256) -> None:
        super().__init__()
        self.shape = nn.Sequential(
            nn.Conv2d(code, width // 2, 3, 2, 1), nn.ReLU(), nn.Conv2d(width // 2, width, 3, 2, 1), nn.ReLU()
        )
        self.shape_vector = nn.Linear(width * 4, width)
        self.appearance_vector = nn.Sequential(
            nn.Linear(parts * appearance, width), nn.ReLU(), nn.Linear(width, width)
        )
        self.judge = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, code: Tensor, appearance: Tensor) -> Tensor:
        """(B, P, h, w) and (B, K, A) -> (B,)."""
        shape = self.shape_vector(F.adaptive_avg_pool2d(self.shape(code), 2).flatten(1))
        look = self.appearance_vector(appearance.flatten(1))
        return self.judge(torch.cat([shape, look], 1)).squeeze(1)

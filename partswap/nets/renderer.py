"""Appearance in, picture out: the appearance encoder and the deliberately weak decoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partswap.nets.encoder import conv_norm_act


class AppearanceEncoder(nn.Module):
    """A shallow encoder whose receptive field (15 px) is too small to see what part it looks at."""

    def __init__(self, appearance: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv_norm_act(3, 32, 3, stride=2),  # receptive field 3 px
            conv_norm_act(32, 64, 3, stride=2),  # 7 px
            conv_norm_act(64, 64, 3),  # 15 px
            nn.Conv2d(64, appearance, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Normalised photos (B, 3, H, W) -> local appearance (B, A, H/4, W/4)."""
        return self.layers(x)


def pool_appearance(features: Tensor, part_map: Tensor) -> Tensor:
    """One appearance code per part: the mean of the features under its part map.

    Args:
        features: (B, A, h, w).
        part_map: (B, K, h, w), the parts without background, values in [0, 1].

    Returns:
        (B, K, A); a part that is not visible gets zeros.
    """
    weights = part_map.flatten(2)  # (B, K, h*w)
    total = weights.sum(-1, keepdim=True)
    return (weights @ features.flatten(2).transpose(1, 2)) / (total + 1e-3 * weights.shape[-1] * 0.01)


class Renderer(nn.Module):
    """Part map + appearance codes -> picture.

    The decoder is weak on purpose (a handful of 3x3 convolutions, no way to see the photo): whatever it gets
    right, it must have learned from *where* each part is and *what* it looks like, and so the parts have to
    carry the meaning.

    Args:
        parts: K.
        appearance: length A of one appearance code.
        width: channels of the decoder.
    """

    def __init__(self, parts: int, appearance: int = 64, width: int = 64) -> None:
        super().__init__()
        self.appearance_encoder = AppearanceEncoder(appearance)
        self.project = nn.Linear(appearance, width)
        self.identity = nn.Parameter(torch.randn(parts, width) * 0.02)
        self.background = nn.Parameter(torch.zeros(width))
        self.layers = nn.Sequential(conv_norm_act(width, width), conv_norm_act(width, width))
        self.finish = nn.Sequential(conv_norm_act(width, width // 2), nn.Conv2d(width // 2, 3, 3, padding=1))

    def encode(self, photo: Tensor, part_map: Tensor) -> Tensor:
        """Normalised photos (B, 3, H, W), part maps (B, K + 1, h, w) -> appearance codes (B, K, A)."""
        features = self.appearance_encoder(photo)
        parts = F.interpolate(part_map[:, 1:], size=features.shape[-2:], mode="bilinear", align_corners=False)
        return pool_appearance(features, parts)

    def decode(self, part_map: Tensor, codes: Tensor) -> Tensor:
        """Part maps (B, K + 1, h, w) and codes (B, K, A) -> pictures (B, 3, 2h, 2w), normalised like the
        photos."""
        vectors = self.project(codes) + self.identity  # (B, K, width)
        vectors = torch.cat([self.background.expand(codes.shape[0], 1, -1).to(vectors.dtype), vectors], 1)
        painted = torch.einsum("bkhw,bkc->bchw", part_map.to(vectors.dtype), vectors)
        y = self.layers(painted)
        return self.finish(F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False))

    def forward(self, photo: Tensor, source_map: Tensor, target_map: Tensor) -> Tensor:
        """The look of ``photo`` under ``source_map``, in the shape of ``target_map``."""
        return self.decode(target_map, self.encode(photo, source_map))

"""The student: a dense segmenter with skips, which `segment`, `transfer` and ONNX run."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from partswap.nets.encoder import Encoder, conv_norm_act


class Fuse(nn.Module):
    """Bring coarse features up one level, add the finer ones, and mix (a step of a feature pyramid)."""

    def __init__(self, coarse: int, fine: int, width: int) -> None:
        super().__init__()
        self.top = nn.Conv2d(coarse, width, 1) if coarse != width else nn.Identity()
        self.lateral = nn.Conv2d(fine, width, 1)
        # Depthwise 5x5 then pointwise: a wide look for a tenth of the price of a plain convolution.
        self.mix = nn.Sequential(conv_norm_act(width, width, 5, groups=width), conv_norm_act(width, width, 1))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, Cc, h, w) and (B, Cf, 2h, 2w) -> (B, width, 2h, 2w)."""
        # By a constant, not to the size of `fine`: ONNX Runtime then stays in its fast layout.
        finer = F.interpolate(self.top(coarse), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.mix(finer + self.lateral(fine))


class Segmenter(nn.Module):
    """Photo -> logits of the part map.

    Args:
        backbone: timm encoder name.
        parts: K, the number of parts; the output has K + 1 channels, channel 0 is background.
        width: channels of the decoder at strides 16 and 8; half of it at strides 4 and 2.
    """

    def __init__(self, backbone: str, parts: int, width: int = 96) -> None:
        super().__init__()
        self.encoder = Encoder(backbone)
        c2, c4, c8, c16, c32 = self.encoder.channels
        self.context = conv_norm_act(c32, width, 1)
        self.fuse16 = Fuse(width, c16, width)
        self.fuse8 = Fuse(width, c8, width)
        self.fuse4 = Fuse(width, c4, width // 2)
        self.fuse2 = Fuse(width // 2, c2, width // 2)
        self.head = nn.Conv2d(width // 2, parts + 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised photos (B, 3, H, W), sides multiples of 32 -> logits (B, K + 1, H, W)."""
        f2, f4, f8, f16, f32 = self.encoder(x)
        y = self.fuse16(self.context(f32), f16)  # (B, width, H/16, W/16)
        y = self.fuse8(y, f8)  # (B, width, H/8, W/8)
        y = self.fuse4(y, f4)  # (B, width/2, H/4, W/4)
        y = self.fuse2(y, f2)  # (B, width/2, H/2, W/2)
        return F.interpolate(self.head(y), scale_factor=2.0, mode="bilinear", align_corners=False)

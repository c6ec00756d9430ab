"""Distances between two pictures inside a mask, and what survives of colour and pattern."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from partswap.imaging.opencv import opencv

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Perceptual", "colour_distance", "masked_l1", "pattern_energy", "psnr"]


def masked_l1(picture: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute difference inside bool (H, W), in 0..1, of uint8 (H, W, 3)."""
    return float(np.abs(picture[mask].astype(np.float32) - truth[mask]).mean() / 255)


def psnr(picture: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal to noise ratio inside a mask, in dB, at most 60."""
    error = float(((picture[mask].astype(np.float32) - truth[mask]) ** 2).mean())
    return float(min(60.0, 10 * np.log10(255**2 / max(error, 1e-9))))


def colour_distance(first: np.ndarray, second: np.ndarray) -> float:
    """CIE 1976 distance between the mean colours of pixels, uint8 (N, 3) and (M, 3)."""
    cv2 = opencv()
    means = [
        cv2.cvtColor(pixels[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0].mean(axis=0)
        for pixels in (first, second)
    ]
    return float(np.linalg.norm(means[0] - means[1]))


def pattern_energy(rgb: np.ndarray, mask: np.ndarray, rim: int = 4) -> float | None:
    """Mean squared gradient of the luma inside a part, in levels squared; None where little is left.

    The rim (pixels) is left out: silhouettes are no pattern.
    """
    cv2 = opencv()
    inner = cv2.erode(mask.astype(np.uint8), np.ones((2 * rim + 1, 2 * rim + 1), np.uint8)) > 0
    if inner.sum() < 200:
        return None
    luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope_y, slope_x = np.gradient(luma)
    return float((slope_x[inner] ** 2 + slope_y[inner] ** 2).mean())


class Perceptual:
    """Distance of frozen ImageNet features, in the manner of LPIPS (Zhang et al. 2018) but unweighted.

    At strides 2, 4, 8 and 16 the features of both pictures are scaled to unit length per pixel, their squared
    difference is summed over channels and averaged over the mask; the four numbers are averaged.
    """

    def __init__(self, weights: str | Path, backbone: str = "tf_efficientnet_lite0") -> None:
        """weights: a safetensors file in timm's naming, or "auto", which lets timm fetch them."""
        from partswap.nets.encoder import Encoder
        from partswap.training.pretrained import load_into, pretrained_weights

        self._net = Encoder(backbone, levels=4)
        load_into(self._net, pretrained_weights(str(weights), backbone))
        self._net.eval().requires_grad_(False)

    def __call__(self, picture: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
        """uint8 (H, W, 3) twice and bool (H, W) with at least one pixel -> distance, 0 for equal pictures."""
        import torch
        import torch.nn.functional as F

        with torch.inference_mode():
            features = self._net(torch.cat([self._input(picture), self._input(truth)]))
            weight = torch.from_numpy(mask.astype(np.float32))[None, None]
            weight = F.pad(weight, self._padding(mask.shape))
            total = 0.0
            for level in features:
                unit = F.normalize(level, dim=1, eps=1e-6)
                difference = ((unit[0] - unit[1]) ** 2).sum(0)
                here = F.interpolate(weight, size=difference.shape, mode="area")[0, 0]
                total += float((difference * here).sum() / here.sum())
        return total / len(features)

    @staticmethod
    def _padding(size: tuple[int, ...]) -> tuple[int, int, int, int]:
        return 0, -size[1] % 32, 0, -size[0] % 32

    def _input(self, rgb: np.ndarray) -> Tensor:
        import torch
        import torch.nn.functional as F

        pixels = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
        mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        return F.pad((pixels - mean) / std, self._padding(rgb.shape[:2]), mode="replicate")

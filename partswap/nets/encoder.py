"""A timm encoder as a pyramid of features, padded so that it exports and compiles without surprises."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = (2, 4, 8, 16, 32)
MULTIPLE = 32
"""Inputs must be a multiple of this many pixels in height and width."""


class StaticSameConv2d(nn.Conv2d):
    """TensorFlow's "same" padding for inputs whose sides are multiples of the stride.

    timm computes this padding from the input size in every forward pass, which breaks graphs apart when they
    are exported with dynamic shapes. For sides that are multiples of 32 the padding is a constant: ``k - s``
    in all, the odd pixel at the end.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        (kh, kw), (sh, sw), (dh, dw) = self.kernel_size, self.stride, self.dilation
        ph, pw = max(0, (kh - 1) * dh + 1 - sh), max(0, (kw - 1) * dw + 1 - sw)
        x = F.pad(x, (pw // 2, pw - pw // 2, ph // 2, ph - ph // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _make_padding_static(module: nn.Module) -> None:
    """Replace timm's Conv2dSame layers, keeping their parameters and their names in the state dict."""
    for child in module.modules():
        if type(child).__name__ == "Conv2dSame":
            child.__class__ = StaticSameConv2d


class Encoder(nn.Module):
    """Features of a photo at strides 2, 4, 8, 16 and 32.

    Args:
        backbone: any timm model that supports ``features_only`` with five levels.
        levels: how many levels to compute (4 stops at stride 16).
    """

    def __init__(self, backbone: str, levels: int = 5) -> None:
        super().__init__()
        import timm

        try:
            self.body = timm.create_model(
                backbone, features_only=True, pretrained=False, out_indices=tuple(range(levels))
            )
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            from partswap.errors import UsageError

            raise UsageError(
                f"the encoder '{backbone}' is none that timm can give {levels} levels of features of, of "
                f"strides {', '.join(map(str, STRIDES[:levels]))} ({error}); take a convolutional one that "
                "begins at stride 2, such as tf_efficientnet_lite0, resnet18 or mobilenetv4_conv_small"
            ) from error
        _make_padding_static(self.body)
        info: Any = self.body.feature_info
        self.channels: list[int] = info.channels()
        strides = tuple(info.reduction())
        if strides != STRIDES[:levels]:
            from partswap.errors import UsageError

            raise UsageError(
                f"the encoder '{backbone}' has strides {strides}, but partswap needs {STRIDES[:levels]}; "
                "try a convolutional encoder such as --backbone tf_efficientnet_lite0"
            )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised photos (B, 3, H, W), sides multiples of 32 -> one (B, C_i, H / s_i, W / s_i) per
        stride."""
        return self.body(x)

    def fine_layers(self, levels: int = 3) -> list[nn.Module]:
        """The layers up to the feature of level ``levels`` (3 ends at stride 8), in their order; none where
        timm's names do not tell."""
        info: Any = self.body.feature_info
        name = info.module_name(levels - 1)
        ends = {name, name.replace(".", "_")}  # timm flattens some names
        layers = [(at, layer) for at, layer in self.body.named_modules() if not [*layer.children()]]
        inside = [any(at == end or at.startswith(f"{end}.") for end in ends) for at, _ in layers]
        count = len(inside) - inside[::-1].index(True) if True in inside else 0
        return [layer for _, layer in layers[:count]]


def conv_norm_act(
    inputs: int, outputs: int, kernel: int = 3, groups: int = 1, stride: int = 1
) -> nn.Sequential:
    """Convolution, batch normalisation and ReLU, the block that every decoder here is made of."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )

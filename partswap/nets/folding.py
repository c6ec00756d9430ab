"""Batch normalisation worked into the convolution before it, so that a graph neither stores nor runs it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["fold_batch_norms"]


def fold_batch_norms(net: nn.Module, *example: Tensor) -> dict[str, Tensor]:
    """Fold every batch normalisation that follows a convolution, in place; the net, in eval mode, computes
    the same.

    Which convolution feeds which normalisation is seen by running `example` through the net once: encoders
    name and nest their layers in too many ways to read it off. Returns what each kernel was multiplied with,
    name -> (C,).
    """
    scales = {}
    names = {module: name for name, module in net.named_modules()}
    for name, conv, norm in _pairs(net, example):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        scales[f"{names[conv]}.weight"] = scale if norm.weight is None else (norm.weight * scale).detach()
        fused = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        conv.weight, conv.bias = (nn.Parameter(each.detach()) for each in fused)
        # timm's layer also holds the activation
        rest = [getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part)]
        net.set_submodule(name, nn.Sequential(*rest) if rest else nn.Identity())
    return scales


def _pairs(net: nn.Module, example: tuple[Tensor, ...]) -> list[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    made: list[tuple[Tensor, nn.Conv2d]] = []  # the tensors themselves are kept, or their ids would be reused
    pairs: list[tuple[str, nn.Conv2d, nn.BatchNorm2d]] = []

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def after_conv(conv: nn.Module, _: object, out: Tensor) -> None:
            assert isinstance(conv, nn.Conv2d)
            made.append((out, conv))

        def before_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(norm, nn.BatchNorm2d)
            source = next((conv for out, conv in made if out is inputs[0]), None)
            if source is not None:
                pairs.append((name, source, norm))

        if isinstance(module, nn.Conv2d):
            return module.register_forward_hook(after_conv)
        return module.register_forward_pre_hook(before_norm)

    watched = (nn.Conv2d, nn.BatchNorm2d)
    hooks = [watch(name, module) for name, module in net.named_modules() if isinstance(module, watched)]
    try:
        with torch.no_grad():
            net(*example)
    finally:
        for hook in hooks:
            hook.remove()
    return pairs

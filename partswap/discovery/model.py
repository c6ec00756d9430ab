"""Everything that stage 1 trains, in one module, so that it is saved, averaged and moved as one."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partswap.discovery.adaptive import AdaptiveWeight
from partswap.discovery.terms import Terms
from partswap.discovery.warm_start import Anchors
from partswap.nets.disentangler import Critic, PartDecoder, ShapeCode, ShapeEncoder
from partswap.nets.encoder import Encoder
from partswap.nets.folding import fold_batch_norms
from partswap.nets.renderer import Renderer

CODE_CHANNELS = 32
APPEARANCE = 64
WIDTH = 128
FROZEN_LEVELS = 4


class FrozenFeatures(nn.Module):
    """A pretrained encoder that never learns: the eye of the perceptual loss, of the contrast and of the warm
    start."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, FROZEN_LEVELS)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> FrozenFeatures:
        """Batch statistics stay those of pretraining, whatever the rest of the model does."""
        return super().train(False)

    def settle(self, precision: torch.dtype) -> FrozenFeatures:
        """Once its weights are in place: fold the batch normalisations into the convolutions, and keep what
        the run computes with. It looks at every photo three times a step, and neither would ever change."""
        self.eval()  # modules are born training, and the net looks at zeros while they are folded
        fold_batch_norms(self.encoder, torch.zeros(1, 3, 64, 64))
        return self.requires_grad_(False).to(precision)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised photos (B, 3, H, W) -> features at strides 2 to 16."""
        return self.encoder(x.to(next(self.parameters()).dtype))

    @staticmethod
    def stack(levels: list[Tensor]) -> Tensor:
        """The two coarsest levels side by side at the stride of the finer one; of those of this encoder,
        (B, C8 + C16, H/8, W/8)."""
        fine, coarse = levels[-2], levels[-1]
        return torch.cat(
            [fine, F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)], 1
        )


def of_unit_norm(features: Tensor) -> Tensor:
    """(B, C, H, W), scaled so that a place's norm is 1 on average in each photo: levels differ widely."""
    return features / features.norm(dim=1, keepdim=True).mean((2, 3), keepdim=True).clamp(min=1e-6)


class Teacher(nn.Module):
    """Shape encoder and part decoder: photo -> part logits. What stage 2 learns from."""

    def __init__(self, backbone: str, parts: int) -> None:
        super().__init__()
        self.shape_encoder = ShapeEncoder(backbone, CODE_CHANNELS, WIDTH)
        self.part_decoder = PartDecoder(parts, CODE_CHANNELS, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised photos (B, 3, H, W) -> part logits (B, K, H/8, W/8) of the code's mean."""
        return self.part_decoder(self.shape_encoder(x).mean)


class DiscoveryModel(nn.Module):
    """The generative model of stage 1.

    Args:
        backbone: timm encoder name; parts: K; terms: the active terms (the adaptive weights belong to them).
    """

    def __init__(self, backbone: str, parts: int, terms: Terms) -> None:
        super().__init__()
        self.teacher = Teacher(backbone, parts)
        self.renderer = Renderer(parts, APPEARANCE)
        self.critic = Critic(parts, CODE_CHANNELS, APPEARANCE)
        self.frozen = FrozenFeatures(backbone)
        self.anchors = Anchors(sum(self.frozen.encoder.channels[-2:]), parts)
        self.variational_weight = AdaptiveWeight(terms.kl_target, initial=1e-3, rate=1e-4, rho=1e-3, most=1.0)
        self.adversarial_weight = AdaptiveWeight(
            terms.information_target, initial=0.0, rate=1e-3, rho=0.0, most=0.5
        )

    def encode(self, x: Tensor) -> ShapeCode:
        """q(pi | x) of normalised photos (B, 3, H, W)."""
        return self.teacher.shape_encoder(x)

    def parameter_groups(self, rate: float, pretrained: bool = True) -> list[dict[str, object]]:
        """Pretrained weights learn at a fifth of the rate of the rest, random ones like the rest; the critic
        is not among them (it plays against the encoder)."""
        encoder = list(self.teacher.shape_encoder.encoder.parameters())
        known = {id(p) for p in encoder}
        rest = [
            p for module in (self.teacher, self.renderer) for p in module.parameters() if id(p) not in known
        ]
        return [{"params": encoder, "lr": rate / 5 if pretrained else rate}, {"params": rest, "lr": rate}]


class _EvenPull(torch.autograd.Function):
    """Identity forward; backward, rescale the gradient so that its mean norm per foreground pixel is
    ``strength / pixels``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, pixels: Tensor, strength: Tensor) -> Tensor:
        ctx.save_for_backward(pixels, strength)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        pixels, strength = ctx.saved_tensors
        g = gradients[0].float()
        norm = g.square().sum(1, keepdim=True).sqrt()
        mean = norm.sum() / pixels
        # A few pixels on edges would otherwise speak for all: nobody pulls more than four times the mean.
        g = g * (4 * mean / (norm + 1e-20)).clamp(max=1.0)
        return (g * (strength / (mean * pixels + 1e-20))).to(gradients[0].dtype), None, None


def even_pull(part_map: Tensor, foreground: Tensor, strength: Tensor) -> Tensor:
    """Let reconstruction pull on the part map about as hard as a label would, whatever the scale of its loss.

    The gradient of the picture through hard part maps is fifty times that of every other term (measured,
    docs/research.md): left alone it drowns them, and the map turns into a texture code or into nothing. A
    cross-entropy pulls each of N pixels with at most about 1 / N; this holds the mean pull of reconstruction
    at ``strength / N``.

    Args:
        part_map: logits (B, K, h, w); foreground: (B, 1, h, w); strength: scalar tensor, 0 cuts the gradient.
    """
    out: Tensor = _EvenPull.apply(part_map, foreground.detach().sum() + 1.0, strength)
    return out


def harden(soft: Tensor) -> Tensor:
    """Straight-through: one-hot forward, gradient of the soft map backward; (B, K, h, w)."""
    hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
    return hard + soft - soft.detach()

"""One step of stage 1: views -> codes -> part maps -> picture -> every term."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.discovery import objective
from partswap.discovery.model import DiscoveryModel, even_pull, harden
from partswap.discovery.terms import Terms
from partswap.discovery.warm_start import foreground_frame
from partswap.training.data import PhotoSet
from partswap.training.views import (
    WarpRange,
    blur_some,
    in_full_precision,
    inside,
    jitter_colour,
    random_grid,
    resize_grid,
    sample,
)

BASE = WarpRange(zoom=(0.9, 1.12), rotate=8.0, shift=0.06, stretch=0.1)
SECOND = WarpRange(zoom=(0.75, 1.2), rotate=25.0, shift=0.12, bend=0.10, stretch=0.25)
LOGIT_NOISE = 0.3
MEAN = 0.5
"""Photos enter every network as (x - 0.5) / 0.5, the convention of the EfficientNet-Lite weights."""


def normalise(x: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return (x - MEAN) / MEAN


@dataclass
class Views:
    """What one step looks at.

    Attributes:
        photo: (B, 3, H, W) in [0, 1], the photo to be reconstructed; mask: (B, 1, H, W).
        shape: the same photo in other colours, where the shape code comes from.
        second: (B, 3, H, W) in [0, 1], the photo warped, or its partner: where the appearance comes from;
            second_mask: (B, 1, H, W).
        second_shape: ``second`` in other colours; its part map says where to pool the appearance.
        grid: (B, H, W, 2), where in ``photo`` each pixel of ``second`` looks; valid: (B, 1, H, W), 0 for
            partners and beyond the frame.
    """

    photo: Tensor
    mask: Tensor
    shape: Tensor
    second: Tensor
    second_mask: Tensor
    second_shape: Tensor
    grid: Tensor
    valid: Tensor


@in_full_precision
def make_views(photos: PhotoSet, index: Tensor, mirror: bool, g: torch.Generator) -> Views:
    """Draw the views of the photos ``index`` (B,) on the device of ``photos``."""
    assert photos.masks is not None
    b = len(index)
    partner = photos.partners[index]
    has_partner = ((partner != index) & (torch.rand(b, generator=g, device=g.device) < 0.6)).view(-1, 1, 1, 1)
    size = (photos.images.shape[-2], photos.images.shape[-1])
    flip = 0.5 if mirror else 0.0
    span = WarpRange(**{**BASE.__dict__, "flip": flip})

    def read(which: Tensor) -> tuple[Tensor, Tensor]:
        grid, _ = random_grid(b, size, span, g)
        both = torch.cat([photos.images[which].float() / 255, photos.masks[which].float() / 255], 1)  # type: ignore[index]
        out = sample(both, grid)
        return out[:, :3], out[:, 3:] * inside(grid)

    photo, mask = read(index)
    other, other_mask = read(partner)
    warp, _ = random_grid(b, size, WarpRange(**{**SECOND.__dict__, "flip": flip}), g)
    seen = inside(warp)
    warped = sample(torch.cat([photo, mask], 1), warp)
    second = torch.where(has_partner, other, warped[:, :3])
    second_mask = torch.where(has_partner, other_mask, warped[:, 3:] * seen)
    valid = torch.where(has_partner, torch.zeros_like(seen), seen)
    shape = blur_some(jitter_colour(photo, g), g)
    second_shape = blur_some(jitter_colour(second, g), g)
    return Views(photo, mask, shape, second, second_mask, second_shape, warp, valid)


def _upsample(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


def discovery_losses(
    model: DiscoveryModel, views: Views, terms: Terms, mirror: bool, progress: Tensor, g: torch.Generator
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Every term of one step.

    Args:
        progress: scalar tensor in [0, 1], how much of stage 1 is done.

    Returns:
        losses: weighted terms whose sum the networks (without the critic) minimise.
        values: unweighted terms and what is watched besides, for the log; ``critic`` among them has the
            critic's own gradient.
        picture: (B, 3, H/2, W/2), the reconstruction on grey, in [-1, 1].
    """
    b = len(views.photo)
    losses: dict[str, Tensor] = {}
    values: dict[str, Tensor] = {}

    def add(name: str, value: Tensor, factor: Tensor | float = 1.0) -> None:
        values[name] = value.detach()
        if name in ("reconstruction", "perceptual") or terms.has(name):
            losses[name] = value * terms.weights[name] * factor

    code = model.encode(normalise(torch.cat([views.shape, views.second_shape])))
    noisy = terms.has("variational")
    noise = torch.randn(code.mean.shape, generator=g, device=g.device)
    pi = code.sample(noise) if noisy else code.mean
    logits = model.teacher.part_decoder(pi).float()  # (2B, K, H/8, W/8)
    logits_a, logits_b = logits.chunk(2)

    # Part maps: hard forward, soft backward, noise on the logits; the mask holds the background.
    jolt = torch.randn(logits.shape, generator=g, device=g.device) * LOGIT_NOISE
    both_masks = torch.cat([views.mask, views.second_mask])
    strength = terms.pull * (progress / 0.1).clamp(max=1.0)
    pulled = even_pull(logits, F.interpolate(both_masks, size=logits.shape[-2:], mode="area"), strength)
    soft = _upsample(pulled + jolt, 2).softmax(1)  # (2B, K, H/4, W/4)
    masks = F.interpolate(both_masks, scale_factor=0.25, mode="area")
    parts = harden(soft) * masks
    part_map = torch.cat([1 - masks, parts], 1)

    # Appearance from the second view, shape from the first.
    alpha = model.renderer.encode(normalise(views.second), part_map[b:])
    picture = model.renderer.decode(part_map[:b], alpha)  # (B, 3, H/2, W/2)
    small = F.interpolate(torch.cat([views.photo, views.mask], 1), scale_factor=0.5, mode="area")
    half_mask = small[:, 3:]
    target = normalise(small[:, :3]) * half_mask
    shown = picture * half_mask
    add("reconstruction", objective.reconstruction(shown, target, half_mask))
    if terms.has("perceptual"):
        with torch.no_grad():
            wanted = model.frozen(target)
        add("perceptual", objective.perceptual(model.frozen(shown), wanted))

    # The bound on the information that shape carries about appearance.
    kl = objective.variational(code.mean, code.log_variance)
    values["variational"] = kl.detach()
    if noisy:
        losses["variational"] = model.variational_weight(kl)
    if terms.has("adversarial"):
        look = alpha.detach().float()
        pi_a = pi[:b].float()
        shuffled = look.roll(1, 0)
        values["critic"] = objective.critic(
            model.critic(pi_a.detach(), look), model.critic(pi_a.detach(), shuffled)
        )
        information = objective.mutual_information(_with_frozen_weights(model.critic, pi_a, look))
        values["adversarial"] = information.detach()
        losses["adversarial"] = model.adversarial_weight(information)

    # Priors on the part map act on D_S alone: the code is cut off from them.
    own = model.teacher.part_decoder(pi[:b].detach()).float()
    coarse = F.interpolate(views.mask, size=own.shape[-2:], mode="area")
    add("gmrf", objective.gmrf(own, coarse))
    add("entropy", objective.entropy(own.softmax(1), coarse), progress.clamp(0.1, 1.0))

    # What real photos need on top.
    grid = resize_grid(views.grid, (logits.shape[-2], logits.shape[-1]))
    coarse_b = F.interpolate(views.second_mask, size=own.shape[-2:], mode="area")
    valid = F.interpolate(views.valid, size=own.shape[-2:], mode="area") * (coarse_b > 0.5).float()
    add("equivariance", objective.equivariance(sample(logits_a, grid), logits_b, valid))
    add("balance", objective.balance(logits_a.softmax(1), coarse))
    if terms.has("contrast") or terms.has("anchoring"):
        with torch.no_grad():
            unit = model.anchors.embed_features(model.frozen.stack(model.frozen(normalise(views.photo))))
            anchors = model.anchors(unit, foreground_frame(coarse, mirror))
        descriptors, area = objective.describe(logits_a.softmax(1) * coarse, unit)
        add("contrast", objective.contrast(descriptors, area))
        fading = (1.0 - progress / 0.6).clamp(terms.anchor_floor, 1.0)
        add("anchoring", objective.anchoring(logits_a, anchors, coarse), fading)
    values["total_variation"] = objective.total_variation(soft[:b].detach())
    return losses, values, picture


def _with_frozen_weights(critic: torch.nn.Module, pi: Tensor, look: Tensor) -> Tensor:
    """The critic's judgement with gradient to the code alone, not to the critic's weights."""
    weights = {name: p.detach() for name, p in critic.named_parameters()}
    return torch.func.functional_call(critic, weights, (pi, look))

"""The objective of stage 1, one pure function per term.

Equation numbers and symbols follow "Unsupervised Part Discovery by Unsupervised Disentanglement" (Braun,
Esser, Ommer, GCPR 2020): E_pi minimises L_rec + lambda_var KL(q(pi|x) || p(pi)) + lambda_adv I_T(pi, alpha);
E_alpha minimises L_rec; D_S minimises L_rec + lambda_GMRF KL(q(l|x) || p(l)) + lambda_H H(p). Terms that the
paper does not have name their own source. Every function returns a scalar, averaged over the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-6


def _mean_over(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / (weight.sum() + EPS)


def reconstruction(picture: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference: pictures (B, 3, h, w), weights (B, 1, h, w) >= 0."""
    return _mean_over((picture - target).abs().mean(1, keepdim=True), weight)


def perceptual(features: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Distance of frozen features, each pixel's channel vector normalised first (Zhang et al., LPIPS, CVPR
    2018, without learned weights).

    Args:
        features, targets: one (B, C_i, h_i, w_i) per level.
    """
    levels = []
    for a, b in zip(features, targets, strict=True):
        difference = F.normalize(a.float(), dim=1, eps=1e-3) - F.normalize(b.float(), dim=1, eps=1e-3)
        levels.append(difference.square().sum(1).mean())
    return torch.stack(levels).mean()


def variational(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(q(pi|x) || N(0, I)) in nats per cell of the shape code: an upper bound on the information that the
    code carries.

    Args:
        mean, log_variance: (B, P, h, w).
    """
    kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)
    return kl.sum(1).mean()


def mutual_information(joint_logits: Tensor) -> Tensor:
    """I_T(pi, alpha): mean log density ratio of joint against shuffled pairs, as the critic T estimates it,
    in nats; (B,) -> scalar."""
    return joint_logits.mean()


def critic(joint_logits: Tensor, shuffled_logits: Tensor) -> Tensor:
    """Logistic loss of the critic T: joint pairs (pi, alpha) against shuffled ones; both (B,)."""
    return F.softplus(-joint_logits).mean() + F.softplus(shuffled_logits).mean()


def _neighbour_energy(x: Tensor, weight: Tensor) -> Tensor:
    """Mean squared difference of 4-neighbours whose weights are both on: (B, C, h, w), (B, 1, h, w)."""
    down = (x[:, :, 1:] - x[:, :, :-1]).square().sum(1, keepdim=True)
    right = (x[:, :, :, 1:] - x[:, :, :, :-1]).square().sum(1, keepdim=True)
    w_down = weight[:, :, 1:] * weight[:, :, :-1]
    w_right = weight[:, :, :, 1:] * weight[:, :, :, :-1]
    return _mean_over(down, w_down) + _mean_over(right, w_right)


def gmrf(logits: Tensor, foreground: Tensor) -> Tensor:
    """KL(q(l|x) || p(l)) up to a constant, with q a unit Gaussian around the logits and p a Gaussian Markov
    random field.

    For p(l) with energy 1/2 sum over neighbours (l_i - l_j)^2 the divergence is that energy at the mean.
    Logits are centred over the parts first, since the softmax does not see their common level, and scaled by
    1/K.

    Args:
        logits: (B, K, h, w); foreground: (B, 1, h, w) in [0, 1].
    """
    centred = logits - logits.mean(1, keepdim=True)
    return 0.5 * _neighbour_energy(centred, foreground) / logits.shape[1]


def entropy(parts: Tensor, foreground: Tensor) -> Tensor:
    """H(p): mean entropy of the part posterior over the foreground, in nats.

    Args:
        parts: (B, K, h, w), summing to one over K; foreground: (B, 1, h, w).
    """
    h = -(parts * (parts + EPS).log()).sum(1, keepdim=True)
    return _mean_over(h, foreground)


def equivariance(warped_logits: Tensor, logits_of_warped: Tensor, valid: Tensor) -> Tensor:
    """T(map(x)) against map(T(x)): symmetric cross-entropy, each side learning from the other, which is held
    still.

    Args:
        warped_logits: (B, K, h, w), the map of the photo, warped; logits_of_warped: (B, K, h, w); valid: (B,
            1, h, w).
    """
    a, b = warped_logits.float(), logits_of_warped.float()
    ab = -(a.detach().softmax(1) * b.log_softmax(1)).sum(1, keepdim=True)
    ba = -(b.detach().softmax(1) * a.log_softmax(1)).sum(1, keepdim=True)
    return 0.5 * _mean_over(ab + ba, valid)


def describe(parts: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean feature of each part in each photo.

    Args:
        parts: (B, K, h, w), zero outside the foreground; features: (B, D, h, w), unit vectors.

    Returns:
        descriptors: (B, K, D), unit vectors; area: (B, K), share of the frame.
    """
    area = parts.mean((2, 3))
    total = torch.einsum("bkhw,bdhw->bkd", parts, features)
    return F.normalize(total, dim=-1, eps=1e-4), area


def contrast(descriptors: Tensor, area: Tensor, temperature: float = 0.1) -> Tensor:
    """A part should look, to frozen features, like the same part in other photos and unlike other parts
    (InfoNCE over part prototypes; cf. Choudhury et al., NeurIPS 2021).

    Args:
        descriptors: (B, K, D); area: (B, K), a part below 0.1 % of the frame does not count.
    """
    weight = (area > 1e-3).float()
    counted = descriptors * weight.unsqueeze(-1)
    others = (counted.sum(0, keepdim=True) - counted).detach()  # each photo left out of its own prototypes
    prototypes = F.normalize(others, dim=-1, eps=1e-4)  # (B, K, D)
    similarity = torch.einsum("bkd,bjd->bkj", descriptors, prototypes) / temperature
    target = torch.arange(descriptors.shape[1], device=descriptors.device).expand(len(descriptors), -1)
    loss = F.cross_entropy(similarity.flatten(0, 1), target.flatten(), reduction="none").view_as(weight)
    return _mean_over(loss, weight)


def balance(parts: Tensor, foreground: Tensor, share: float = 0.3) -> Tensor:
    """No part may die: hinge on each part's share of the batch's foreground below ``share / K``; 0 when all
    are used, 1 when none is."""
    used = (parts * foreground).sum((0, 2, 3)) / (foreground.sum() + EPS)
    floor = share / parts.shape[1]
    return F.relu(1.0 - used / floor).mean()


def anchoring(logits: Tensor, anchors: Tensor, foreground: Tensor) -> Tensor:
    """Cross-entropy to soft anchors (see warm_start.py), which break the symmetry between parts; weighted out
    as training goes on.

    Args:
        logits: (B, K, h, w); anchors: (B, K, h, w), summing to one; foreground: (B, 1, h, w).
    """
    loss = -(anchors * logits.float().log_softmax(1)).sum(1, keepdim=True)
    return _mean_over(loss, foreground)


def total_variation(parts: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring part probabilities; logged, to watch texture leaking into the
    map."""
    return (parts[:, :, 1:] - parts[:, :, :-1]).abs().sum(1).mean() + (
        parts[:, :, :, 1:] - parts[:, :, :, :-1]
    ).abs().sum(1).mean()

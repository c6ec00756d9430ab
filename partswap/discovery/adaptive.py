"""Weights that hold a term at a target, because fixed weights do not carry over between data sets."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AdaptiveWeight(nn.Module):
    """The multiplier of an augmented Lagrangian for the constraint ``value <= target``.

    The penalty is ``multiplier * c + rho / 2 * relu(c)^2`` with ``c = value - target``; after each step the
    multiplier moves by ``rate * c``, never below zero nor above ``most`` (Nocedal and Wright, Numerical
    Optimization, 17.4, for inequality constraints). Nothing here waits for the device.

    Args:
        target: what the term may cost before it is punished, in the term's own unit.
    """

    multiplier: Tensor

    def __init__(self, target: float, *, initial: float, rate: float, rho: float, most: float) -> None:
        super().__init__()
        self.target, self.rate, self.rho, self.most = target, rate, rho, most
        self.register_buffer("multiplier", torch.tensor(float(initial)))

    def forward(self, value: Tensor) -> Tensor:
        """The penalty for a scalar ``value``; its gradient is what the constraint asks for."""
        excess = value - self.target
        return self.multiplier * excess + 0.5 * self.rho * excess.clamp(min=0.0).square()

    @torch.no_grad()
    def update(self, value: Tensor) -> None:
        """Move the multiplier after a step in which the term had this value."""
        self.multiplier.add_(self.rate * (value.detach() - self.target)).clamp_(0.0, self.most)

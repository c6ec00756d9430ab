"""Which terms of the objective are on, and how much each counts; the paper's ablation rows by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from partswap.errors import UsageError

PAPER_TERMS = ("variational", "adversarial", "gmrf", "entropy")
"""The four terms that the paper ablates."""

ADDED_TERMS = ("equivariance", "contrast", "balance", "anchoring")
"""What cluttered real photos need on top (docs/research.md gives the measurements)."""

ABLATION_ROWS: dict[str, tuple[str, ...]] = {
    "none": (),
    "var+adv": ("variational", "adversarial"),
    "var+adv+gmrf": ("variational", "adversarial", "gmrf"),
    "var+gmrf+entropy": ("variational", "gmrf", "entropy"),
    "full": PAPER_TERMS,
}
"""The paper's table: which of its four terms each row has."""

WEIGHTS = {
    "reconstruction": 4.0,
    "perceptual": 3.0,
    "gmrf": 0.1,
    "entropy": 0.2,
    "equivariance": 1.0,
    "contrast": 0.3,
    "balance": 1.0,
    "anchoring": 1.0,
}
"""Fixed weights; ``variational`` and ``adversarial`` have adaptive ones (see adaptive.py)."""


@dataclass(frozen=True)
class Terms:
    """The active terms of a run.

    Attributes:
        active: names of the terms that are on; reconstruction always is, ``perceptual`` unless left out.
        weights: factor per term.
        pull: how hard reconstruction pulls on a pixel of the part map, where a label would pull with about 1.
        anchor_floor: what is left of the anchoring once it has faded; without it parts merge
            (docs/research.md).
        kl_target: nats per cell of the shape code that the variational bound allows.
        information_target: nats that the adversarial estimate of I(pi, alpha) may reach.
    """

    active: frozenset[str]
    weights: dict[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    pull: float = 0.5
    anchor_floor: float = 0.35
    kl_target: float = 3.0
    information_target: float = 0.2

    def has(self, name: str) -> bool:
        """Whether a term is on."""
        return name in self.active

    @staticmethod
    def parse(row: str = "full", without: Iterable[str] = ()) -> Terms:
        """From the command line: a row of the paper's ablation, and terms to leave out.

        Raises:
            UsageError: an unknown row or term.
        """
        if row not in ABLATION_ROWS:
            raise UsageError(f"there is no ablation row '{row}'; the rows are {', '.join(ABLATION_ROWS)}.")
        names = {"perceptual", *ABLATION_ROWS[row], *ADDED_TERMS}
        for name in without:
            if name not in {"perceptual", *PAPER_TERMS, *ADDED_TERMS}:
                known = ", ".join(("perceptual", *PAPER_TERMS, *ADDED_TERMS))
                raise UsageError(f"there is no term '{name}' to leave out; the terms are {known}.")
            names.discard(name)
        return Terms(frozenset(names))

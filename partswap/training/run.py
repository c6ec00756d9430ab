"""A training run under way: what every stage needs of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from partswap.training.data import PhotoSet
from partswap.training.limbs import Limb
from partswap.training.loop import Budget, Runner, Stage
from partswap.training.options import MINUTES_TO_DISCOVERY, TrainOptions
from partswap.training.sheet import ROWS
from partswap.training.state import Progress


@dataclass
class Run:
    """A run under way.

    Attributes:
        photos: on the device, with masks from the start or estimated; weights: ImageNet weights of the
            encoder, if any.
        saved: tensors and place of the run that is resumed.
        discovery_share: of a time budget, the share of stage 1; limbs: what views of distillation move.
    """

    options: TrainOptions
    runner: Runner
    photos: PhotoSet
    weights: dict[str, Tensor] | None
    saved: tuple[dict[str, Tensor], Progress] | None
    discovery_share: float = MINUTES_TO_DISCOVERY
    limbs: tuple[Limb, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where the run computes."""
        return self.runner.device

    def start_of(self, number: int) -> Progress | None:
        """Where stage ``number`` starts: None if a resumed run has it behind it."""
        if self.saved is None:
            return Progress(number)
        progress = self.saved[1]
        return (
            None if progress.stage > number else (progress if progress.stage == number else Progress(number))
        )

    def restore(self, stage: Stage, progress: Progress) -> None:
        """Give a stage the state that was saved in it, if it was."""
        if self.saved is not None and self.saved[1].stage == stage.number and progress.step > 0:
            stage.restore(self.saved[0])

    def budget(self, number: int) -> Budget:
        """Stage 0 is discovery, stages 1.. are rounds of distillation."""
        options = self.options
        if options.minutes is None:
            return Budget(steps=options.steps if number == 0 else options.distill_steps)
        share = self.discovery_share if number == 0 else (1 - self.discovery_share) / options.rounds
        return Budget(seconds=options.minutes * 60 * share)

    def sheet_rows(self) -> Tensor:
        """The same photos on every sheet, spread over the set."""
        return torch.linspace(0, len(self.photos) - 1, min(ROWS, len(self.photos)), device=self.device).long()


def adamw(groups: list[dict[str, object]], rate: float) -> torch.optim.Optimizer:
    """AdamW whose groups remember the rate that the schedule scales.

    One fused kernel instead of a dozen for each tensor: an eighth of a step on a GPU, a thirtieth on a CPU.
    """
    optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=0.01, betas=(0.9, 0.99), fused=True)  # type: ignore[arg-type]
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"]
    return optimizer

"""The loop that both stages run in: schedule, precision, averaging, saving, stopping, and finding the step
that broke."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from partswap.errors import PartswapError
from partswap.training.log import RunLog
from partswap.training.state import (
    MovingAverage,
    Progress,
    module_tensors,
    optimizer_tensors,
    restore_module,
    restore_optimizer,
    save_state,
)
from partswap.training.stopping import Interrupted, stop_between_steps
from partswap.training.views import step_generator

LOG_EVERY = 25
WARM_UP = 0.03
CLIP = 5.0


@dataclass(frozen=True)
class Budget:
    """How long a stage lasts: ``steps``, or ``seconds`` of wall clock (one of the two)."""

    steps: int | None = None
    seconds: float | None = None

    def part(self, share: float) -> Budget:
        """A share of this budget, at least a step."""
        steps = None if self.steps is None else max(1, round(self.steps * share))
        return Budget(steps, None if self.seconds is None else self.seconds * share)

    def share(self, progress: Progress) -> float:
        """How much of the stage is done, in [0, 1]."""
        if self.steps is not None:
            return min(1.0, progress.step / max(1, self.steps))
        return min(1.0, progress.elapsed / max(1e-6, self.seconds or 0.0))


def learning_rate(share: float) -> float:
    """Factor on the learning rate: a short linear warm-up, then a cosine to 1 % (Loshchilov and Hutter
    2017)."""
    if share < WARM_UP:
        return max(share / WARM_UP, 0.02)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))


StepFunction = Callable[[Tensor, torch.Generator, float], tuple[dict[str, Tensor], dict[str, Tensor]]]
"""(index, generator, share) -> (losses to minimise, values to log); both dictionaries of scalars."""


@dataclass
class Stage:
    """One stage of a run.

    Attributes:
        name: for the log; number: position in the plan, part of every step's seed.
        model: everything with a state; averaged: the module of which a moving average is kept.
        optimizers: stepped in turn after one backward pass.
        step: computes the losses of a batch; after_step: called with the values once the optimizers have
            stepped.
        sheet: writes a picture sheet to the path it is given.
        often: how often each photo is drawn in proportion to others, (count,); None: all alike.
    """

    name: str
    number: int
    budget: Budget
    batch: int
    count: int
    model: nn.Module
    averaged: MovingAverage
    source: nn.Module
    optimizers: list[torch.optim.Optimizer]
    step: StepFunction
    sheet: Callable[[Path], None]
    after_step: Callable[[dict[str, Tensor]], None] = field(default=lambda values: None)
    often: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs."""
        found = {**module_tensors(self.model, "model"), **module_tensors(self.averaged.module, "average")}
        for i, optimizer in enumerate(self.optimizers):
            found.update(optimizer_tensors(optimizer, f"optimizer{i}"))
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Undo :meth:`tensors`."""
        restore_module(self.model, tensors, "model")
        restore_module(self.averaged.module, tensors, "average")
        for i, optimizer in enumerate(self.optimizers):
            restore_optimizer(optimizer, tensors, f"optimizer{i}")


@dataclass
class Runner:
    """What all stages of a run share.

    Attributes:
        state_file: where the state goes; options: what a resumed run must repeat.
        precision: torch.bfloat16 or torch.float32; save_every, sheet_every: seconds.
    """

    device: torch.device
    seed: int
    precision: torch.dtype
    log: RunLog
    folder: Path
    options: dict[str, Any]
    carried: dict[str, Tensor] = field(default_factory=dict)
    save_every: float = 120.0
    sheet_every: float = 240.0

    @property
    def state_file(self) -> Path:
        """The one file that holds the state of the run."""
        return self.folder / "state" / "state.safetensors"

    def save(self, stage: Stage, progress: Progress) -> None:
        """Write the state now; ``carried`` tensors of earlier stages go along."""
        save_state(self.state_file, {**stage.tensors(), **self.carried}, progress, self.options)

    def run(self, stage: Stage, progress: Progress) -> None:
        """Run a stage from ``progress`` to its end; returns with the state saved."""
        self.log.stage(stage.name)
        self.log.rewind(stage.name, progress.step)
        broken = _FirstBroken(self.device, self.precision)
        with stop_between_steps() as stopping:
            saved = drawn = shown = time.monotonic()
            shown_step = progress.step
            while stage.budget.share(progress) < 1.0:
                started = time.monotonic()
                losses, values = self.one_step(stage, progress)
                broken.watch({**losses, **values}, progress.step)
                progress.step += 1
                if progress.step % LOG_EVERY == 0 or stage.budget.share(progress) >= 1.0:
                    numbers = {k: float(v.detach()) for k, v in values.items()}  # waits for the device
                    broken.complain(stage.name)
                    now = time.monotonic()
                    speed = (progress.step - shown_step) * stage.batch / max(1e-6, now - shown)
                    shown, shown_step = now, progress.step
                    self._show(stage, progress, numbers, speed)
                progress.elapsed += time.monotonic() - started
                if stopping():
                    break
                if time.monotonic() - saved > self.save_every:
                    broken.complain(stage.name)
                    self.save(stage, progress)
                    saved = time.monotonic()
                if time.monotonic() - drawn > self.sheet_every:
                    stage.sheet(self.folder / "sheets" / f"{stage.name}-{progress.step:06d}.jpg")
                    drawn = time.monotonic()
            broken.complain(stage.name)  # a broken state must not replace a sound one
            self.save(stage, progress)
            if not stopping():
                stage.sheet(self.folder / "sheets" / f"{stage.name}-{progress.step:06d}.jpg")
            if stopping():
                raise Interrupted(
                    "stopped; the state is saved, the same command with --resume goes on from here."
                )

    def one_step(self, stage: Stage, progress: Progress) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One update of everything the stage trains; returns its losses and values. Waits for the device
        nowhere."""
        share = stage.budget.share(progress)
        g = step_generator(self.seed, stage.number, progress.step, self.device)
        factor = learning_rate(share)
        for optimizer in stage.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
        if stage.often is None:
            index = torch.randint(stage.count, (stage.batch,), generator=g, device=self.device)
        else:
            index = torch.multinomial(stage.often, stage.batch, replacement=True, generator=g)
        stage.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision is torch.bfloat16):
            losses, values = stage.step(index, g, share)
        total = torch.stack([v.float() for v in losses.values()]).sum()
        for optimizer in stage.optimizers:
            optimizer.zero_grad(set_to_none=True)
        total.backward()
        for optimizer in stage.optimizers:
            for group in optimizer.param_groups:
                torch.nn.utils.clip_grad_norm_(group["params"], CLIP, foreach=True)
            optimizer.step()
        stage.averaged.update(stage.source, progress.step)
        stage.after_step(values)
        return losses, values

    def _show(self, stage: Stage, progress: Progress, numbers: dict[str, float], speed: float) -> None:
        main = ("reconstruction", "equivariance", "total_variation", "cross_entropy", "overlap")
        short = {
            "reconstruction": "rec",
            "equivariance": "equiv",
            "total_variation": "tv",
            "cross_entropy": "ce",
            "overlap": "dice",
        }
        words = " ".join(f"{short[k]} {numbers[k]:.3f}" for k in main if k in numbers)
        self.log.advance(stage.budget.share(progress), f"{speed:.0f} images/s {words}")
        self.log.record(
            stage.name,
            progress.step,
            numbers,
            images_per_second=round(speed, 1),
            share=round(stage.budget.share(progress), 4),
        )


class _FirstBroken:
    """Remembers, on the device and without waiting for it, the first step at which each term was not
    finite."""

    def __init__(self, device: torch.device, precision: torch.dtype) -> None:
        self.device = device
        resuming, anew = "resume from the last state with --precision fp32", "lower --rate, in a new --out"
        self.mend = anew if precision is torch.float32 else resuming
        self.names: list[str] = []
        self.first = torch.zeros(0)

    def watch(self, values: dict[str, Tensor], step: int) -> None:
        """Look at the terms of a step; they are the same in every step of a stage."""
        if not self.names:
            self.names = list(values)
            self.first = torch.full((len(values),), -1, device=self.device)
        broken = ~torch.isfinite(torch.stack([values[name].detach().float() for name in self.names]))
        self.first = torch.where((self.first < 0) & broken, step, self.first)

    def complain(self, stage: str) -> None:
        """Raise if any term broke; the state on disk is from before."""
        found = {n: s for n, s in zip(self.names, self.first.tolist(), strict=True) if s >= 0}
        if found:
            step = min(found.values())
            names = ", ".join(sorted(n for n, s in found.items() if s == step))
            raise PartswapError(f"{stage} broke at step {step + 1}: {names} is not finite; {self.mend}.")

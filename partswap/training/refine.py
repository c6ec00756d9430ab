"""`partswap train --refine MODEL`: go on with a finished model on more or other views and photos."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.checkpoint.format import Checkpoint, read_checkpoint, write_checkpoint
from partswap.checkpoint.resolve import resolve_model
from partswap.discovery.step import normalise
from partswap.distillation.train import distill_round
from partswap.engine.loading import load_student
from partswap.nets.segmenter import Segmenter
from partswap.training.card import training_record
from partswap.training.log import RunLog
from partswap.training.options import TrainOptions
from partswap.training.run import Run
from partswap.training.state import Progress, module_tensors
from partswap.training.train import open_run
from partswap.verification import write_verification

RATE_FACTOR = 0.3
"""A trained student moves more slowly than a fresh one."""


def refine(options: TrainOptions, model: str) -> Path:
    """One more round of distillation for a finished model, learning from its own part maps of whole photos.

    What a model says of a whole photo is better than what it says of a crop; this carries it over. Names of
    parts and the renderer are kept. Returns the folder of the new checkpoint; raises what
    :func:`partswap.training.train.train` raises, and ModelError.
    """
    checkpoint = read_checkpoint(resolve_model(model, options.quiet))
    options = dataclasses.replace(
        options,
        parts=checkpoint.config.parts,
        rate=options.rate * RATE_FACTOR,
        size=checkpoint.config.size,
        rounds=1,
    )
    options.check()
    with RunLog(options.out, quiet=options.quiet) as log:
        run = open_run(options, log, None)
        run.discovery_share = 0.0
        started = time.monotonic()
        student = load_student(checkpoint).to(run.device)
        masks, targets = _own_maps(run, student)
        if run.photos.masks is None:
            run.photos.masks = masks
        start = run.start_of(1) or Progress(1)
        student = distill_round(run, student, targets, 1, start)
        return _finish(run, checkpoint, student, time.monotonic() - started)


@torch.no_grad()
def _own_maps(run: Run, student: Segmenter, batch: int = 16) -> tuple[Tensor, Tensor]:
    """What the student says of whole photos and their mirror images.

    Returns:
        masks: uint8 (N, 1, H, W), 0 or 255; targets: uint8 (N, K, H/4, W/4), posterior inside the foreground.
    """
    student.eval()
    run.runner.log.stage("part maps")
    masks, targets = [], []
    for start in range(0, len(run.photos), batch):
        x = normalise(run.photos.images[start : start + batch].float() / 255)
        logits = student(x).float()
        if run.options.mirror:
            logits = (logits + student(x.flip(3)).float().flip(3)) / 2
        masks.append((logits.softmax(1)[:, :1] < 0.5).to(torch.uint8) * 255)
        inside = F.avg_pool2d(logits[:, 1:], 4).softmax(1)
        targets.append((inside * 255).round().to(torch.uint8))
        run.runner.log.advance(start / len(run.photos), f"{start} of {len(run.photos)} photos")
    return torch.cat(masks), torch.cat(targets)


def _finish(run: Run, checkpoint: Checkpoint, student: Segmenter, seconds: float) -> Path:
    """Write the refined model next to the run's log."""
    record = training_record(run.options, len(run.photos), run.device, seconds)
    config = dataclasses.replace(
        checkpoint.config,
        training={**checkpoint.config.training, "refined": {**record, "from": checkpoint.revision}},
    )
    tensors = {**module_tensors(student, "student"), **checkpoint_renderer(checkpoint)}
    plain = {
        k: v.detach().cpu().contiguous() for k, v in tensors.items() if not k.endswith("num_batches_tracked")
    }
    card = (checkpoint.path / "README.md").read_text(encoding="utf-8")
    target = run.options.out / "model"
    write_checkpoint(target, config, checkpoint.parts, plain, card, overwrite=True)
    write_verification(target)
    run.runner.log.say(f"done: {target}")
    return target


def checkpoint_renderer(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The renderer's tensors under their stored names."""
    return {f"renderer.{k}": v.float() for k, v in checkpoint.tensors("renderer.").items()}

"""`partswap train`: photos -> discovery -> part maps -> distillation -> checkpoint."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from partswap.checkpoint.config import Config
from partswap.checkpoint.format import read_checkpoint, write_checkpoint
from partswap.discovery.model import APPEARANCE, DiscoveryModel
from partswap.discovery.step import MEAN
from partswap.discovery.train import discover
from partswap.distillation.train import STUDENT_WIDTH, distill
from partswap.errors import ModelError, UsageError
from partswap.imaging.save import clear_left_overs
from partswap.nets.encoder import MULTIPLE
from partswap.nets.segmenter import Segmenter
from partswap.parts import Parts
from partswap.training.card import mirror_agreement, training_record, write_card
from partswap.training.data import PhotoSet, load_photos
from partswap.training.log import RunLog
from partswap.training.loop import Runner
from partswap.training.memory import keep_freed_memory
from partswap.training.options import TrainOptions, training_device
from partswap.training.pretrained import pretrained_weights
from partswap.training.run import Run
from partswap.training.state import load_state, module_tensors
from partswap.verification import write_verification

INPUT_LONG_SIDE = 320


def train(options: TrainOptions) -> Path:
    """Train a model; returns the folder of the checkpoint.

    Raises:
        UsageError: unusable options or photos, or an ``out`` that holds another run.
        Interrupted: it was asked to stop between two steps; the state is saved.
    """
    options.check()
    weights = pretrained_weights(options.pretrained, options.backbone)
    with RunLog(options.out, quiet=options.quiet) as log:
        run = open_run(options, log, weights)
        started = time.monotonic()
        model = discover(run)
        student = distill(run, model)
        return _finish(run, model, student, time.monotonic() - started)


def open_run(options: TrainOptions, log: RunLog, weights: dict[str, Tensor] | None) -> Run:
    """Read the photos and, for a resumed run, its state. Raises UsageError and DeviceError."""
    state_file = options.out / "state" / "state.safetensors"
    if state_file.exists() and not options.resume:
        raise UsageError(f"{options.out} holds a run already; go on with --resume, or choose another --out.")
    for folder in (options.out, state_file.parent, options.out / "sheets"):
        clear_left_overs(folder)  # of a run that was killed; its state can be hundreds of megabytes
    device = torch.device(training_device(options.device))
    torch.manual_seed(options.seed)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    if device.type == "cpu":
        keep_freed_memory()
    photos = _read_photos(options, log).to(device)
    same = {**options.fingerprint(), "photos": photos.fingerprint()}
    saved = load_state(state_file, same) if options.resume and state_file.exists() else None
    bf16 = options.precision == "bf16" or (options.precision == "auto" and device.type == "cuda")
    runner = Runner(
        device,
        options.seed,
        torch.bfloat16 if bf16 else torch.float32,
        log,
        options.out,
        same,
        save_every=options.save_seconds,
    )
    return Run(options, runner, photos, weights, saved)


def _read_photos(options: TrainOptions, log: RunLog) -> PhotoSet:
    log.stage("photos")
    photos = load_photos(
        options.data,
        options.size,
        masks=options.masks,
        pairs=options.pairs,
        group_by_folder=options.group_by_folder,
        ignore=[options.out, *([options.masks] if options.masks else [])],
        workers=options.workers,
        report=lambda done, total: log.advance(done / max(1, total), f"{done} of {total} photos"),
    )
    for name, reason in photos.skipped:
        log.say(f"skipped {name}: {reason}")
    paired = int((photos.partners != torch.arange(len(photos))).sum())
    log.say(f"{len(photos)} photos, {paired} of them with a partner; {len(photos.skipped)} skipped")
    return photos


def named_before(run: Run, target: Path, parts: Parts) -> Parts:
    """``parts``, or, of a resumed run, those of the checkpoint that it left at ``target`` when it was
    finished: somebody may have named them since, and it makes the same parts again."""
    if run.saved is None:
        return parts
    try:
        before = read_checkpoint(target).parts
    except ModelError:
        return parts
    return before if len(before) == len(parts) else parts


def _finish(run: Run, model: DiscoveryModel, student: Segmenter, seconds: float) -> Path:
    """Write the checkpoint: student and renderer, with a card."""
    options = run.options
    config = Config(
        name=options.name,
        parts=options.parts,
        size=options.size,
        input_long_side=max(MULTIPLE, round(INPUT_LONG_SIDE * max(options.size) / 256 / MULTIPLE) * MULTIPLE),
        multiple=MULTIPLE,
        student={"backbone": options.backbone, "parts": options.parts, "width": STUDENT_WIDTH},
        renderer={"parts": options.parts, "appearance": APPEARANCE, "width": 64},
        mean=(MEAN, MEAN, MEAN),
        std=(MEAN, MEAN, MEAN),
        training=training_record(options, len(run.photos), run.device, seconds),
    )
    tensors = {**module_tensors(student, "student"), **module_tensors(model.renderer, "renderer")}
    plain = {
        k: v.detach().cpu().contiguous() for k, v in tensors.items() if not k.endswith("num_batches_tracked")
    }
    target = options.out / "model"
    card = write_card(config, [mirror_agreement(student, run.photos)])
    parts = named_before(run, target, Parts.default(options.parts))
    write_checkpoint(target, config, parts, plain, card, overwrite=True)
    write_verification(target)
    run.runner.log.say(f"done: {target}; look at it with: partswap parts show --model {target} PHOTOS...")
    return target

"""`partswap train --refine MODEL`: go on with a finished model on more or other views and photos."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from partswap.checkpoint.config import MAX_LIMBS, Config, HangingLimb
from partswap.checkpoint.files import CARD_FILE
from partswap.checkpoint.format import Checkpoint, read_checkpoint, write_checkpoint
from partswap.checkpoint.resolve import resolve_model
from partswap.distillation.differing import differing, how_often
from partswap.distillation.near_file import Near, parse_near
from partswap.distillation.renderer import fit_renderer
from partswap.distillation.train import distill_round
from partswap.engine.loading import load_student
from partswap.errors import UsageError
from partswap.nets.build import build_renderer
from partswap.nets.encoder import Encoder
from partswap.nets.segmenter import Segmenter
from partswap.parts import Parts
from partswap.training.card import training_record, write_card
from partswap.training.kept import kept
from partswap.training.limbs import Limb, parse_limbs
from partswap.training.log import RunLog
from partswap.training.options import TrainOptions
from partswap.training.part_maps import (
    Teacher,
    own_foreground,
    own_part_maps,
    parse_teacher,
    regrouped_part_maps,
    supported_foreground,
)
from partswap.training.pretrained import load_into, pretrained_weights
from partswap.training.run import Run
from partswap.training.state import Progress, module_tensors, restore_module
from partswap.training.train import named_before, open_run
from partswap.verification import write_verification

RATE_FACTOR = 0.3
"""A trained student moves more slowly than a fresh one."""


def refine(options: TrainOptions, model: str, own_size: bool = True) -> Path:
    """One more round of distillation for a finished model, learning from its own part maps of whole photos.

    What a model says of a whole photo is better than what it says of a crop; this carries it over. With
    ``options.regroup`` the parts are discovered again in the model's own features, and the renderer learns
    them. Names of parts are kept. With ``own_size`` photos are seen in the frame that the model was trained
    in, else in that of ``options``. Returns the folder of the new checkpoint; raises what
    :func:`partswap.training.train.train` raises, and ModelError.
    """
    checkpoint = read_checkpoint(resolve_model(model, options.quiet))
    options = dataclasses.replace(
        options,
        backbone=str(checkpoint.config.student["backbone"]),
        parts=checkpoint.config.parts,
        rate=options.rate * RATE_FACTOR,
        size=checkpoint.config.size if own_size else options.size,
        rounds=1,
    )
    options.check()
    limbs = parse_limbs(options.limbs, checkpoint.parts)
    remembered(limbs, checkpoint.config.limbs)  # raises before anything is computed
    teacher = parse_teacher(options.teacher, checkpoint.parts, options.quiet)
    known = [checkpoint, *([] if teacher is None else [teacher.checkpoint])]
    near = parse_near(options.near, checkpoint.parts, known)
    frozen = options.regroup or options.cross_check  # both look at photos with ImageNet's eyes
    weights = pretrained_weights(options.pretrained, options.backbone) if frozen else None
    eye = Encoder(options.backbone) if options.cross_check else None
    if eye is not None:
        load_into(eye, weights)  # raises before anything is computed
    with RunLog(options.out, quiet=options.quiet) as log:
        run = open_run(options, log, weights)
        run.discovery_share = 0.0
        run.limbs = limbs
        if teacher is not None:
            teacher.taught(run.photos.names)  # raises before anything is computed
        started = time.monotonic()
        student = load_student(checkpoint).to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

        def lesson() -> dict[str, Tensor]:
            return _lesson(run, student, checkpoint.parts, teacher, near, eye)

        learnt = kept(run, 1, _sources(checkpoint, teacher, near, eye), lesson)
        run.photos.masks = learnt["masks"]
        student = _student(run, student, learnt.pop("part_maps"), learnt.get("often"))
        renderer = _renderer(run, checkpoint, student)
        return _finish(run, checkpoint, teacher, student, renderer, time.monotonic() - started)


def _sources(
    checkpoint: Checkpoint, teacher: Teacher | None, near: Near | None, eye: Encoder | None
) -> Iterator[Tensor | str]:
    """What the lesson comes from."""
    yield checkpoint.revision
    if teacher is not None:
        yield teacher.checkpoint.revision
    if near is not None:
        yield near.checkpoint.revision
        yield near.clusters.centres
    if eye is not None:
        yield from eye.state_dict().values()


def _lesson(
    run: Run,
    student: Segmenter,
    parts: Parts,
    teacher: Teacher | None,
    near: Near | None,
    eye: Encoder | None,
) -> dict[str, Tensor]:
    """What the student learns from: the foreground of the photos, their part maps, and in a plain round how
    often each is shown. The foreground is the run's from here on."""
    run.photos.masks = own_foreground(run, student, teacher)
    if eye is not None:
        run.photos.masks = supported_foreground(run, teacher, eye)
    if run.options.regroup:
        targets = regrouped_part_maps(run, student)
    else:
        targets = own_part_maps(run, student, parts, run.limbs, teacher, near)
    found = {"masks": run.photos.masks, "part_maps": targets}
    if run.options.plain:
        found["often"] = _often(run, student, targets)
    return found


def _often(run: Run, student: Segmenter, targets: Tensor) -> Tensor:
    """How often each photo is shown, by what there is to learn of it."""
    log = run.runner.log
    log.stage("what differs")
    shares = differing(
        student.eval(), run.photos, targets, report=lambda done, total: log.advance(done / total)
    )
    log.say(f"{100 * float(shares.mean()):.2f} % of the frames differ from their part maps")
    return how_often(shares)


def _student(run: Run, student: Segmenter, targets: Tensor, often: Tensor | None) -> Segmenter:
    """The student after its round, also of a resumed run that has the round behind it."""
    start = run.start_of(1)
    if start is None:
        assert run.saved is not None
        restore_module(student, run.saved[0], "student")
        return student
    before = {k: v.clone() for k, v in student.state_dict().items()}
    student = distill_round(run, student, targets, 1, start, often)
    _keep(student, before, run.options.keep)
    return student


@torch.no_grad()
def _keep(student: Segmenter, before: dict[str, Tensor], share: float) -> None:
    """Average with the weights of before (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR
    2022): what new photos teach, without forgetting the old."""
    for name, value in student.state_dict().items():
        if value.is_floating_point():
            value.lerp_(before[name].to(value.device), share)


def _renderer(run: Run, checkpoint: Checkpoint, student: Segmenter) -> dict[str, Tensor]:
    """The renderer's tensors: as they were, or fitted to parts that were discovered again."""
    stored = checkpoint.tensors("renderer.")
    if not run.options.regroup or checkpoint.config.renderer is None:
        return stored
    renderer = build_renderer(checkpoint.config.renderer)
    renderer.load_state_dict(stored)
    renderer = renderer.to(run.device)
    run.runner.carried = module_tensors(student, "student")
    fit_renderer(run, student, renderer, 2, run.start_of(2) or Progress(2))
    return renderer.state_dict()


def remembered(limbs: Sequence[Limb], before: Sequence[HangingLimb]) -> tuple[HangingLimb, ...]:
    """What a model is to remember of its limbs: what it remembered before, and what was told now in place of
    what was told of the same limb then; raises UsageError for too many limbs."""
    known = {limb.parts: limb for limb in before}
    for limb in limbs:
        if limb.never or limb.bare or limb.once:
            old = known.get(limb.parts, HangingLimb(limb.parts))
            lies = limb if limb.bare else old  # the two belong together
            known[limb.parts] = HangingLimb(
                limb.parts, limb.never or old.never, lies.before, lies.bare, limb.once or old.once
            )
    if len(known) > MAX_LIMBS:
        raise UsageError(
            f"--limbs: {len(known)} limbs, with those that the model remembers, are more than {MAX_LIMBS}."
        )
    return tuple(known.values())


def _card(checkpoint: Checkpoint, config: Config) -> str:
    """The model's card, or a new one where somebody took it away."""
    try:
        return (checkpoint.path / CARD_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return write_card(config, [])


def _finish(
    run: Run,
    checkpoint: Checkpoint,
    teacher: Teacher | None,
    student: Segmenter,
    renderer: dict[str, Tensor],
    seconds: float,
) -> Path:
    """Write the refined model next to the run's log."""
    record = training_record(run.options, len(run.photos), run.device, seconds)
    record["from"] = checkpoint.revision
    if teacher is not None:
        record["teacher"] = f"{teacher.folder}={teacher.checkpoint.revision}"
    before = checkpoint.config.training
    config = dataclasses.replace(
        checkpoint.config,
        limbs=() if run.options.regroup else remembered(run.limbs, checkpoint.config.limbs),
        closer=() if run.options.regroup else checkpoint.config.closer,
        training={**before, "refined": [*before.get("refined", []), record]},
    )
    tensors = {
        **module_tensors(student, "student"),
        **{f"renderer.{k}": v.float() for k, v in renderer.items()},
    }
    plain = {
        k: v.detach().cpu().contiguous() for k, v in tensors.items() if not k.endswith("num_batches_tracked")
    }
    target = run.options.out / "model"
    parts = named_before(run, target, checkpoint.parts)
    write_checkpoint(target, config, parts, plain, _card(checkpoint, config), overwrite=True)
    write_verification(target)
    run.runner.log.say(f"done: {target}")
    return target

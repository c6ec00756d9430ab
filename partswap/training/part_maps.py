"""What a finished model learns from in `train --refine`: the foreground, and part maps, its own or an earlier
model's, mended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from partswap.checkpoint.format import Checkpoint, read_checkpoint
from partswap.checkpoint.resolve import resolve_model
from partswap.discovery.step import normalise
from partswap.distillation.appearances import FINER, alike, limbs_drawn
from partswap.distillation.grafts import complete_from_donors
from partswap.distillation.near import redrawn
from partswap.distillation.near_file import Near
from partswap.distillation.pieces import in_one_piece
from partswap.distillation.regroup import regroup
from partswap.distillation.step import posterior_inside
from partswap.distillation.targets import STRIDE, doubtful, doubts, part_targets, settled, slenderness
from partswap.distillation.wide import from_wide_frame, in_wide_frame, wide
from partswap.engine.loading import load_student
from partswap.errors import UsageError
from partswap.nets.encoder import Encoder
from partswap.nets.segmenter import Segmenter
from partswap.parts import Parts
from partswap.training.cross_check import unsupported, wider_than_outline
from partswap.training.data import PhotoSet
from partswap.training.limbs import Limb
from partswap.training.run import Run
from partswap.training.views import step_generator

OWN_VIEWS = 3
"""Over how many warped views a student's own part maps are averaged."""
UPRIGHT = 1.8
"""Who is so many times as high as wide stands upright: nearly all on street photos (3.1 is the median there,
2.2 the least twentieth), and half of those who exercise."""
WIDE_AT_ONCE = 128
"""So many photos are drawn into a wide frame at a time."""


@dataclass(frozen=True)
class Teacher:
    """An earlier model that some photos learn from.

    Attributes:
        folder: of the photos, relative to the folder of all.
    """

    folder: str
    checkpoint: Checkpoint

    def taught(self, names: Sequence[str]) -> list[bool]:
        """Which photos, by their names, learn from it; raises UsageError if none does."""
        found = [name.startswith(f"{self.folder}/") for name in names]
        if not any(found):
            raise UsageError(f"--teacher: no photo lies in a folder '{self.folder}' of the training data.")
        return found


def parse_teacher(text: str, parts: Parts, quiet: bool = False) -> Teacher | None:
    """``FOLDER=MODEL`` -> the teacher, None for nothing; raises UsageError, and what reading a model
    raises."""
    if not text:
        return None
    folder, _, model = text.partition("=")
    folder = folder.strip().strip("/")
    if not folder or not model.strip():
        raise UsageError(f"--teacher is FOLDER=MODEL, a folder inside DATA and a model, not '{text}'.")
    checkpoint = read_checkpoint(resolve_model(model.strip(), quiet))
    if [part.name for part in checkpoint.parts] != [part.name for part in parts]:
        raise UsageError(
            f"--teacher: {model.strip()} has other parts than the model that is refined; "
            "take an earlier model of the same line, named alike."
        )
    return Teacher(folder, checkpoint)


def regrouped_part_maps(run: Run, student: Segmenter) -> Tensor:
    """Parts discovered again in the student's features, uint8 (N, K, h, w); zero where they are in doubt.

    They are new: nobody has named them, and which are alike is not known.
    """
    run.runner.log.stage("part maps")
    g = step_generator(run.options.seed, 911, 0, run.device)
    targets = regroup(student, run.photos, run.options.parts, run.options.mirror, g, report=_report(run))
    open_ones = doubtful(targets, run.photos)
    _say_open(run, open_ones)
    targets[open_ones] = 0
    return targets


def own_part_maps(
    run: Run,
    student: Segmenter,
    parts: Parts,
    limbs: tuple[Limb, ...],
    teacher: Teacher | None = None,
    near: Near | None = None,
) -> Tensor:
    """The student's own part maps, or its teacher's, uint8 (N, K, h, w); zero where they are in doubt.

    Limbs keep to one appearance in a photo, what comes in one piece stays so. Where limbs lie before the
    body, and where what is taken for one is none, is looked for in the student's own only. Parts that were
    grouped once more from near are drawn as they look from there. With ``upright`` those of who is not are
    left open, too, unless the teacher knows them: a student does not get beyond its own errors by them.
    """
    taught = _taught(run, teacher)
    g = step_generator(run.options.seed, 911, 0, run.device)
    h, w = (s // STRIDE for s in run.photos.images.shape[-2:])
    targets = torch.zeros(len(taught), run.options.parts, h, w, dtype=torch.uint8, device=run.device)
    completed = torch.zeros_like(taught)
    if not taught.all():
        targets[~taught], completed[~taught] = _seen_by(run, student, (~taught).nonzero()[:, 0], g)
    if teacher is not None:
        net = load_student(teacher.checkpoint).to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        targets[taught], completed[taught] = _seen_by(run, net, taught.nonzero()[:, 0], g)
    whole, partly = doubts(targets, run.photos, completed)
    _say_open(run, whole)
    targets[whole] = 0
    run.runner.log.stage("appearances")
    aside = tuple(replace(limb, before=(), never=()) for limb in limbs)
    finer = FINER if any(not limb.dressed for limb in limbs) else 1
    drawn = torch.zeros(*targets.shape[:2], finer * h, finer * w, dtype=torch.uint8, device=run.device)
    for some, these in ((~taught, limbs), (taught, aside)):
        if some.any():
            index = some.nonzero()[:, 0]
            drawn[some] = limbs_drawn(targets[some], run.photos.rows(index), parts, these, _report(run))
    kinds = alike(parts)
    changed = in_one_piece(drawn, run.photos, kinds)
    run.runner.log.say(
        "second pieces of what comes in one, mostly specks, and what reaches too far from where it belongs "
        f"are gone from {int(changed.sum())} photos"
    )
    if near is not None:
        run.runner.log.stage("from near")
        eye = load_student(near.checkpoint).to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        number = redrawn(eye.eval(), run.photos, drawn, near.clusters, near.kinds, _report(run))
        run.runner.log.say(f"{number} photos show something else from near, and are left open there")
    drawn[partly] *= settled(drawn[partly], kinds).unsqueeze(1)
    if run.options.upright:
        bent = ~taught & (slenderness(run.photos) <= UPRIGHT)
        run.runner.log.say(f"{int(bent.sum())} photos of who is not upright are left open")
        drawn[bent] = 0
    return drawn


@torch.no_grad()
def own_foreground(run: Run, student: Segmenter, teacher: Teacher | None, batch: int = 16) -> Tensor:
    """What is foreground from here on, uint8 (N, 1, H, W): what the student sees, averaged with the masks if
    there are any, as the two err in different places.

    Photos that a teacher does not know are those whose poses are new. Where the two differ widely there, by a
    seat or a forearm, it is the student that errs, and would keep half of its error for good.
    """
    student.eval()
    new = ~_taught(run, teacher) & (teacher is not None)
    found = []
    for start in range(0, len(run.photos), batch):
        x = normalise(run.photos.images[start : start + batch].float() / 255)
        both = student(torch.cat([x, x.flip(3)])).float().softmax(1)[:, :1]
        inside = run.photos.inside[start : start + batch]
        seen = (1 - (both[: len(x)] + both[len(x) :].flip(3)) / 2) * inside
        if run.photos.masks is not None:
            masks = run.photos.masks[start : start + batch].float() / 255
            wide = differ_widely(seen, masks) & new[start : start + batch].view(-1, 1, 1, 1)
            seen = torch.where(wide, masks, (seen + masks) / 2)
        found.append((seen * 255).round().to(torch.uint8) * inside)
    return torch.cat(found)


def differ_widely(seen: Tensor, masks: Tensor) -> Tensor:
    """Where two foregrounds differ by more than an outline's width: by a seat or a forearm, not by an edge.

    Args:
        seen, masks: float (N, 1, H, W) in [0, 1].

    Returns:
        bool (N, 1, H, W).
    """
    return wider_than_outline((seen > 0.5) != (masks > 0.5))


def supported_foreground(run: Run, teacher: Teacher | None, encoder: Encoder) -> Tensor:
    """The foreground of a run without what other photos do not speak for
    (:mod:`partswap.training.cross_check`), uint8 (N, 1, H, W); that of photos that a teacher knows stays.
    ``encoder``: with ImageNet weights."""
    assert run.photos.masks is not None
    run.runner.log.stage("cross-check")
    encoder = encoder.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    gone = unsupported(encoder, run.photos, ~_taught(run, teacher), run.options.seed, _report(run))
    run.runner.log.say(
        f"what is foreground in no other photo is gone from {int(gone.any(3).any(2).sum())} photos"
    )
    return run.photos.masks * ~gone


def _taught(run: Run, teacher: Teacher | None) -> Tensor:
    """Which photos learn from the teacher, bool (N,)."""
    if teacher is None:
        return torch.zeros(len(run.photos), dtype=torch.bool, device=run.device)
    return torch.tensor(teacher.taught(run.photos.names), device=run.device)


def _seen_by(run: Run, student: Segmenter, index: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """What a student sees in the photos ``index``, uint8 (n, K, h, w), and which of them it saw completed
    (:func:`partswap.distillation.grafts.complete_from_donors`), bool (n,)."""
    photos, precision = run.photos.rows(index), run.runner.precision
    run.runner.log.stage("part maps")
    predict = posterior_inside(student.eval(), STRIDE)

    def seen_in(some: PhotoSet) -> Tensor:
        return part_targets(
            predict, some, g, views=OWN_VIEWS, mirror=run.options.mirror, turn_at=0.5,
            precision=precision, report=_report(run),
        )  # fmt: skip

    targets = seen_in(photos)
    for lying in wide(photos).nonzero()[:, 0].split(WIDE_AT_ONCE):
        if not len(lying):
            continue  # what is empty splits into one empty piece
        some = photos.rows(lying)
        targets[lying] = from_wide_frame(seen_in(in_wide_frame(some)), some)
    run.runner.log.stage("cut photos")
    return targets, complete_from_donors(
        predict, photos, targets, g, precision=precision, report=_report(run)
    )


def _report(run: Run) -> Callable[[int, int], None]:
    """Shows how many photos are done."""

    def report(done: int, total: int) -> None:
        run.runner.log.advance(done / total, f"{done} of {total} photos")

    return report


def _say_open(run: Run, which: Tensor) -> None:
    run.runner.log.say(
        f"part maps of {int(which.sum())} of {len(which)} photos are left open: they are in doubt"
    )

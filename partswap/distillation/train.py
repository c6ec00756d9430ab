"""Stage 2 of a run: rounds of distillation into the student."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from partswap.discovery.model import DiscoveryModel
from partswap.discovery.step import normalise
from partswap.distillation.looks import view_sizes
from partswap.distillation.step import distillation_losses, distillation_views, posterior_inside
from partswap.distillation.targets import part_targets
from partswap.nets.segmenter import Segmenter
from partswap.training.kept import kept
from partswap.training.loop import Stage
from partswap.training.pretrained import load_into
from partswap.training.run import Run, adamw
from partswap.training.sheet import write_sheet
from partswap.training.state import MovingAverage, Progress, module_tensors, restore_module
from partswap.training.views import step_generator

STUDENT_WIDTH = 96
ELSEWHERE = 0x5DEECE66D
"""Far from the seeds of neighbouring steps."""


def distill(run: Run, model: DiscoveryModel) -> Segmenter:
    """Stage 2: rounds of distillation; the first learns from the teacher, each later one from the student
    before it."""
    options = run.options
    model.eval()
    student: Segmenter | None = None
    for number in range(1, options.rounds + 1):
        start = run.start_of(number)
        if start is None:
            continue
        before = student
        if before is None and number > 1:
            assert run.saved is not None
            before = new_student(run)
            restore_module(before, run.saved[0], "previous")
        targets = _targets(run, model, before, number)
        fresh = new_student(run)
        # The teacher's encoder has seen these parts already: the student starts from it.
        fresh.encoder.load_state_dict(model.teacher.shape_encoder.encoder.state_dict())
        if before is not None:
            fresh.load_state_dict(before.state_dict())
            run.runner.carried = {**module_tensors(model, "discovery"), **module_tensors(before, "previous")}
        student = distill_round(run, fresh, targets, number, start)
    if student is None:
        assert run.saved is not None
        student = new_student(run)
        restore_module(student, run.saved[0], "average")
    return student


def new_student(run: Run) -> Segmenter:
    student = Segmenter(run.options.backbone, run.options.parts, STUDENT_WIDTH)
    load_into(student.encoder, run.weights)
    return student.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _targets(run: Run, model: DiscoveryModel, student: Segmenter | None, number: int) -> Tensor:
    """Part maps of all photos, from the teacher or from the student of the round before."""
    log = run.runner.log
    log.stage(f"part maps {number}")
    teacher = (student or model.teacher).eval()

    def from_teacher(x: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(
            model.teacher(x).float(), scale_factor=2.0, mode="bilinear"
        ).softmax(1)

    predict = from_teacher if student is None else posterior_inside(teacher, 4)
    g = step_generator(run.options.seed, 910 + number, 0, run.device)

    def seen() -> dict[str, Tensor]:
        return {
            "part_maps": part_targets(
                predict,
                run.photos,
                g,
                mirror=run.options.mirror,
                precision=run.runner.precision,
                report=lambda done, total: log.advance(done / total),
            )
        }

    return kept(run, number, teacher.state_dict().values(), seen)["part_maps"]


def _parameter_groups(student: Segmenter, rate: float, pretrained: bool) -> list[dict[str, object]]:
    """Pretrained weights learn slowly, random ones like the rest. The head learns fast: it has few inputs,
    and its first task, to know background from the rest by several logits, took hundreds of steps at the
    common rate."""
    head = list(student.head.parameters())
    encoder = list(student.encoder.parameters())
    known = {id(p) for p in (*head, *encoder)}
    rest = [p for p in student.parameters() if id(p) not in known]
    return [
        {"params": [p for p in encoder if p.requires_grad], "lr": rate / 5 if pretrained else rate},
        {"params": rest, "lr": rate},
        {"params": head, "lr": rate * 5},
    ]


def distillation_stage(
    run: Run, student: Segmenter, targets: Tensor, number: int, often: Tensor | None = None
) -> tuple[Stage, MovingAverage]:
    """The stage that trains ``student``, and its moving average.

    In a plain round the encoder's fine layers stay as they are: edges and textures are known by then, and
    learning them is a quarter of a step. So do the statistics of batch normalisation, and are used: those of
    a small batch of views from near and far are not those of a photo as it comes (docs/research.md).
    ``often``: how often each photo is drawn in proportion to others, (N,); None: all alike.
    """
    options = run.options
    average = MovingAverage(student)
    norms = []
    if options.plain:
        norms = [layer for layer in student.modules() if isinstance(layer, _BatchNorm)]
        for layer in student.encoder.fine_layers():
            layer.requires_grad_(False)
    if options.compile:
        student.compile(dynamic=False)
    groups = _parameter_groups(student, options.rate, options.pretrained != "none")
    sizes = view_sizes(options.view_size or options.size)

    def step(index: Tensor, g: torch.Generator, share: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        for norm in norms:
            norm.eval()
        choice = _on_cpu(g)
        size = sizes[int(torch.randint(len(sizes), (1,), generator=choice))]
        row, column = torch.randint(2, (2,), generator=choice).tolist()
        photo, part_map = distillation_views(
            run.photos, targets, index, size, options.mirror, share, g, run.limbs, options.plain
        )
        # nothing has to be woken in plain views: the overlap loss is over
        share = 1.0 if options.plain else share
        losses, _ = distillation_losses(student, photo, part_map, share, (row, column))
        return losses, {k: v.detach() for k, v in losses.items()}

    stage = Stage(
        f"distillation{number}", number, run.budget(number), options.batch, len(run.photos), student, average,
        student, [adamw(groups, options.rate)], step, lambda path: _student_sheet(run, average.module, path),
        often=often,
    )  # fmt: skip
    return stage, average


def distill_round(
    run: Run,
    student: Segmenter,
    targets: Tensor,
    number: int,
    start: Progress,
    often: Tensor | None = None,
) -> Segmenter:
    """One round of distillation; the student comes back averaged, in eval mode."""
    stage, average = distillation_stage(run, student, targets, number, often)
    run.restore(stage, start)
    run.runner.run(stage, start)
    student.load_state_dict(average.module.state_dict())
    return student.eval()


def _on_cpu(g: torch.Generator) -> torch.Generator:
    """A generator on the CPU that belongs to the same step: for choices that Python makes, without waiting
    for the device."""
    # not the same seed: it would repeat the draws that have chosen the photos
    return torch.Generator().manual_seed((g.initial_seed() + ELSEWHERE) % (2**63 - 1))


@torch.no_grad()
def _student_sheet(run: Run, student: nn.Module, path: Path) -> None:
    photo = normalise(run.photos.images[run.sheet_rows()].float() / 255)
    student.eval()
    write_sheet(path, photo, student(photo).float().softmax(1), {})

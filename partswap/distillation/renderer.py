"""Teach a renderer the parts of a finished student: appearance of one view, shape of another."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.discovery import objective
from partswap.discovery.model import FrozenFeatures
from partswap.discovery.step import make_views, normalise
from partswap.discovery.terms import WEIGHTS
from partswap.distillation.targets import STRIDE
from partswap.nets.renderer import Renderer
from partswap.nets.segmenter import Segmenter
from partswap.training.loop import Stage
from partswap.training.pretrained import load_into
from partswap.training.run import Run, adamw
from partswap.training.sheet import write_sheet
from partswap.training.state import MovingAverage, Progress

SHARE = 0.15
"""Of a round of distillation: how long a renderer learns."""


@torch.no_grad()
def _part_maps(student: Segmenter, photo: Tensor) -> Tensor:
    """Hard part maps at a quarter of the size: normalised (B, 3, H, W) -> (B, K + 1, H/4, W/4)."""
    soft = F.avg_pool2d(student(photo).float().softmax(1), STRIDE)
    hard = F.one_hot(soft.argmax(1), soft.shape[1]).permute(0, 3, 1, 2)
    return hard.to(soft.dtype)


def fit_renderer(run: Run, student: Segmenter, renderer: Renderer, number: int, start: Progress) -> Renderer:
    """Train ``renderer`` as stage ``number`` of a run; ``student`` is held still.

    The losses are those of discovery: absolute difference, and frozen features where the run has pretrained
    weights.
    """
    options = run.options
    student.eval()
    frozen = None
    if run.weights is not None:
        frozen = FrozenFeatures(options.backbone)
        load_into(frozen.encoder, run.weights)
        frozen = frozen.to(run.device)
    average = MovingAverage(renderer)

    def step(index: Tensor, g: torch.Generator, share: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        views = make_views(run.photos, index, options.mirror, g)
        part_map = _part_maps(student, normalise(torch.cat([views.photo, views.second])))
        shape, look = part_map.chunk(2)
        picture = renderer.decode(shape, renderer.encode(normalise(views.second), look))
        on = F.interpolate(1 - shape[:, :1], scale_factor=2.0, mode="nearest")
        target = normalise(F.avg_pool2d(views.photo, 2)) * on
        values = {"reconstruction": objective.reconstruction(picture * on, target, on)}
        if frozen is not None:
            with torch.no_grad():
                wanted = frozen(target)
            values["perceptual"] = objective.perceptual(frozen(picture * on), wanted)
        losses = {name: value * WEIGHTS[name] for name, value in values.items()}
        return losses, {name: value.detach() for name, value in values.items()}

    stage = Stage(
        "renderer", number, run.budget(number).part(SHARE), options.batch, len(run.photos), renderer, average,
        renderer, [adamw([{"params": list(renderer.parameters())}], options.rate)], step,
        lambda path: _sheet(run, student, average.module, path),  # type: ignore[arg-type]
    )  # fmt: skip
    run.restore(stage, start)
    run.runner.run(stage, start)
    renderer.load_state_dict(average.module.state_dict())
    return renderer.eval()


@torch.no_grad()
def _sheet(run: Run, student: Segmenter, renderer: Renderer, path: Path) -> None:
    photo = normalise(run.photos.images[run.sheet_rows()].float() / 255)
    renderer.eval()
    part_map = _part_maps(student, photo)
    on = F.interpolate(1 - part_map[:, :1], scale_factor=2.0, mode="nearest")
    codes = renderer.encode(photo, part_map)
    columns = {
        "reconstructed": renderer.decode(part_map, codes) * on,
        "in a neighbour's clothes": renderer.decode(part_map, codes.roll(1, 0)) * on,
    }
    write_sheet(path, photo, part_map, columns)
    renderer.train()

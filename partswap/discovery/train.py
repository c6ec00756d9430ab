"""Stage 1 of a run: build the generative model, warm it up, train it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from partswap.discovery.model import DiscoveryModel
from partswap.discovery.step import discovery_losses, make_views, normalise
from partswap.discovery.terms import Terms
from partswap.training.foreground import estimate_masks
from partswap.training.loop import Stage
from partswap.training.pretrained import load_into
from partswap.training.run import Run, adamw
from partswap.training.sheet import write_sheet
from partswap.training.state import MovingAverage, module_tensors, restore_module
from partswap.training.views import step_generator


def new_model(run: Run) -> DiscoveryModel:
    options = run.options
    terms = Terms.parse(options.row, options.without)
    model = DiscoveryModel(options.backbone, options.parts, terms)
    load_into(model.teacher.shape_encoder.encoder, run.weights)
    load_into(model.frozen.encoder, run.weights)
    model.frozen.settle(run.runner.precision)
    return model.to(run.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def fit_anchors(run: Run, model: DiscoveryModel, most: int = 600) -> None:
    """Cluster frozen features of some of the photos: where the parts begin."""
    g = step_generator(run.options.seed, 900, 0, run.device)
    chosen = torch.randperm(len(run.photos), generator=g, device=run.device)[:most]
    assert run.photos.masks is not None
    features, masks = [], []
    with torch.no_grad():
        for index in chosen.split(32):
            levels = model.frozen(normalise(run.photos.images[index].float() / 255))
            features.append(model.frozen.stack(levels))
            mask = run.photos.masks[index].float() / 255
            masks.append(torch.nn.functional.interpolate(mask, size=features[-1].shape[-2:], mode="area"))
    model.anchors.fit(torch.cat(features), torch.cat(masks), run.options.mirror, g)


def discovery_stage(run: Run, model: DiscoveryModel) -> tuple[Stage, MovingAverage]:
    """The stage that trains ``model``, and the moving average of its teacher."""
    options = run.options
    terms = Terms.parse(options.row, options.without)
    average = MovingAverage(model.teacher)
    if options.compile:  # after the average was copied: the copy runs rarely and need not be compiled
        for module in (
            model.teacher.shape_encoder,
            model.teacher.part_decoder,
            model.frozen,
            model.renderer.layers,
        ):
            module.compile()
    optimizers = [adamw(model.parameter_groups(options.rate, run.weights is not None), options.rate)]
    if terms.has("adversarial"):
        optimizers.append(adamw([{"params": list(model.critic.parameters())}], 3e-4))

    def step(index: Tensor, g: torch.Generator, share: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        views = make_views(run.photos, index, options.mirror, g)
        losses, values, _ = discovery_losses(
            model, views, terms, options.mirror, torch.full((), share, device=run.device), g
        )
        if "critic" in values:
            losses = {**losses, "critic": values["critic"]}
        return losses, values

    def after_step(values: dict[str, Tensor]) -> None:
        if terms.has("variational"):
            model.variational_weight.update(values["variational"])
        if terms.has("adversarial"):
            model.adversarial_weight.update(values["adversarial"])

    stage = Stage(
        "discovery", 0, run.budget(0), options.batch, len(run.photos), model, average, model.teacher,
        optimizers, step, lambda path: _discovery_sheet(run, model, average.module, path), after_step,
    )  # fmt: skip
    return stage, average


def discover(run: Run) -> DiscoveryModel:
    """Stage 1; the model comes back with the averaged teacher in place."""
    options = run.options
    model = new_model(run)
    if run.photos.masks is None:
        run.runner.log.stage("foreground")
        g = step_generator(options.seed, 901, 0, run.device)
        run.photos.masks = estimate_masks(
            run.photos, model.frozen, g, workers=options.workers, report=run.runner.log.advance
        )
    start = run.start_of(0)
    if start is None:
        assert run.saved is not None
        restore_module(
            model, {k: v for k, v in run.saved[0].items() if k.startswith("discovery.")}, "discovery"
        )
        run.runner.carried = module_tensors(model, "discovery")
        return model
    stage, average = discovery_stage(run, model)
    run.restore(stage, start)
    if start.step == 0:
        fit_anchors(run, model)
    run.runner.run(stage, start)
    model.teacher.load_state_dict(average.module.state_dict())
    run.runner.carried = module_tensors(model, "discovery")
    return model


@torch.no_grad()
def _discovery_sheet(run: Run, model: DiscoveryModel, teacher: nn.Module, path: Path) -> None:
    index = run.sheet_rows()
    assert run.photos.masks is not None
    photo = normalise(run.photos.images[index].float() / 255)
    mask = run.photos.masks[index].float() / 255
    teacher.eval()
    model.eval()
    parts = nn.functional.interpolate(teacher(photo).float(), scale_factor=2.0, mode="bilinear").softmax(1)
    small = nn.functional.interpolate(mask, size=parts.shape[-2:], mode="area")
    part_map = torch.cat([1 - small, parts * small], 1)
    codes = model.renderer.encode(photo, part_map)
    shown = nn.functional.interpolate(mask, scale_factor=0.5, mode="area")
    columns = {
        "reconstructed": model.renderer.decode(part_map, codes) * shown,
        "in a neighbour's clothes": model.renderer.decode(part_map, codes.roll(1, 0)) * shown,
    }
    write_sheet(path, photo, part_map, columns)
    model.train()

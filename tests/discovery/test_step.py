"""One step of discovery: which network each term teaches, and which terms are on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from partswap.discovery import objective
from partswap.discovery.model import DiscoveryModel
from partswap.discovery.step import discovery_losses, make_views
from partswap.discovery.terms import ABLATION_ROWS, ADDED_TERMS, PAPER_TERMS, Terms
from partswap.training.data import PhotoSet
from partswap.training.views import step_generator

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photos() -> PhotoSet:
    g = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (8, 3, 64, 64), generator=g, dtype=torch.uint8)
    masks = torch.zeros(8, 1, 64, 64, dtype=torch.uint8)
    masks[..., 8:56, 16:48] = 255
    return PhotoSet(images, masks, torch.ones_like(masks), torch.arange(8), [str(i) for i in range(8)], [])


@pytest.fixture(scope="module")
def model() -> DiscoveryModel:
    torch.manual_seed(0)
    made = DiscoveryModel("mobilenetv3_small_050", 4, Terms.parse())
    made.adversarial_weight.multiplier.fill_(0.1)
    g = step_generator(0, 900, 0, CPU)
    features = torch.randn(4, made.anchors.mean.shape[0], 8, 8, generator=g)
    made.anchors.fit(features, torch.ones(4, 1, 8, 8), True, g)
    return made


def losses_of(
    model: DiscoveryModel, photos: PhotoSet, terms: Terms
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    g = step_generator(0, 0, 3, CPU)
    views = make_views(photos, torch.arange(4), True, g)
    model.train()
    losses, values, _ = discovery_losses(model, views, terms, True, torch.tensor(0.5), g)
    return losses, values


def taught(value: Tensor, module: nn.Module) -> float:
    """How much of a gradient ``value`` gives to a module: 0.0 for none."""
    found = torch.autograd.grad(value, list(module.parameters()), retain_graph=True, allow_unused=True)
    return sum(float(g.abs().sum()) for g in found if g is not None)


@pytest.fixture(scope="module")
def graph(model: DiscoveryModel, photos: PhotoSet) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return losses_of(model, photos, Terms.parse())


@pytest.mark.parametrize("name", ["gmrf", "entropy"])
def test_priors_on_the_part_map_teach_the_part_decoder_alone(
    model: DiscoveryModel, graph: tuple, name: str
) -> None:
    value = graph[0][name]
    assert taught(value, model.teacher.part_decoder) > 0
    assert taught(value, model.teacher.shape_encoder) == 0
    assert taught(value, model.renderer) == 0


@pytest.mark.parametrize("name", ["reconstruction", "perceptual"])
def test_the_picture_teaches_shape_and_appearance(model: DiscoveryModel, graph: tuple, name: str) -> None:
    value = graph[0][name]
    for module in (model.teacher.shape_encoder, model.teacher.part_decoder, model.renderer):
        assert taught(value, module) > 0


@pytest.mark.parametrize("name", ["variational", "adversarial"])
def test_the_bounds_teach_the_shape_encoder_alone(model: DiscoveryModel, graph: tuple, name: str) -> None:
    value = graph[0][name]
    assert taught(value, model.teacher.shape_encoder) > 0
    for module in (model.teacher.part_decoder, model.renderer, model.critic):
        assert taught(value, module) == 0


def test_the_critic_learns_from_its_own_loss_and_teaches_nobody_with_it(
    model: DiscoveryModel, graph: tuple
) -> None:
    value = graph[1]["critic"]
    assert taught(value, model.critic) > 0
    assert taught(value, model.teacher) == 0
    assert taught(value, model.renderer) == 0


@pytest.mark.parametrize("name", ["equivariance", "contrast", "anchoring"])
def test_the_added_terms_teach_the_teacher_and_not_the_renderer(
    model: DiscoveryModel, graph: tuple, name: str
) -> None:
    value = graph[0][name]
    assert taught(value, model.teacher.shape_encoder) > 0
    assert taught(value, model.teacher.part_decoder) > 0
    assert taught(value, model.renderer) == 0


def test_the_frozen_eye_learns_nothing(model: DiscoveryModel) -> None:
    assert not any(p.requires_grad for p in model.frozen.parameters())
    model.train()
    assert not model.frozen.encoder.training


@pytest.mark.parametrize("row", list(ABLATION_ROWS))
def test_a_row_of_the_ablation_has_its_terms_and_no_others(
    model: DiscoveryModel, photos: PhotoSet, row: str
) -> None:
    losses, values = losses_of(model, photos, Terms.parse(row, ["contrast", "anchoring"]))
    assert set(losses) & set(PAPER_TERMS) == set(ABLATION_ROWS[row])
    assert set(losses) - set(PAPER_TERMS) == {"reconstruction", "perceptual", "equivariance", "balance"}
    assert ("critic" in values) == ("adversarial" in ABLATION_ROWS[row])
    assert all(torch.isfinite(v) for v in (*losses.values(), *values.values()))


def teaching(model: DiscoveryModel, photos: PhotoSet, terms: Terms) -> Tensor:
    """The gradient that a step of these terms gives to the teacher and the renderer, as one vector."""
    losses, _ = losses_of(model, photos, terms)
    learners = [*model.teacher.parameters(), *model.renderer.parameters()]
    found = torch.autograd.grad(sum(losses.values()), learners, allow_unused=True)  # type: ignore[arg-type]
    return torch.cat([g.flatten() for g in found if g is not None])


FUNCTIONS = {"adversarial": "mutual_information"}
"""Where the function of a term has another name than the term."""


@pytest.mark.parametrize("row", list(ABLATION_ROWS))
def test_a_term_teaches_only_in_the_rows_that_have_it(
    model: DiscoveryModel, photos: PhotoSet, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = Terms.parse(row, ADDED_TERMS)  # the paper's own rows
    plain = teaching(model, photos, terms)
    for term in (*PAPER_TERMS, *ADDED_TERMS):
        name = FUNCTIONS.get(term, term)
        function = getattr(objective, name)
        with monkeypatch.context() as patch:
            patch.setattr(objective, name, lambda *words, f=function: 1e3 * f(*words))
            louder = teaching(model, photos, terms)
        assert torch.equal(plain, louder) == (term not in ABLATION_ROWS[row]), term


def test_terms_that_are_off_are_still_watched(model: DiscoveryModel, photos: PhotoSet) -> None:
    _, values = losses_of(model, photos, Terms.parse("none"))
    assert {"gmrf", "entropy", "variational", "total_variation"} <= set(values)


def test_a_step_depends_on_its_generator_alone(model: DiscoveryModel, photos: PhotoSet) -> None:
    torch.manual_seed(1)
    first, _ = losses_of(model, photos, Terms.parse())
    torch.manual_seed(2)
    second, _ = losses_of(model, photos, Terms.parse())
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_views_mark_what_a_partner_cannot_tell(photos: PhotoSet) -> None:
    paired = PhotoSet(photos.images, photos.masks, photos.inside, torch.arange(8).roll(1), photos.names, [])
    alone = make_views(photos, torch.arange(8), True, step_generator(0, 0, 0, CPU))
    both = make_views(paired, torch.arange(8), True, step_generator(0, 0, 0, CPU))
    assert (alone.valid.sum((1, 2, 3)) > 0).all()
    with_partner = both.valid.sum((1, 2, 3)) == 0
    assert 0 < int(with_partner.sum()) < 8  # some photos look at their partner, some at themselves
    assert alone.photo.shape == alone.second.shape == alone.shape.shape == (8, 3, 64, 64)
    assert alone.grid.shape == (8, 64, 64, 2)

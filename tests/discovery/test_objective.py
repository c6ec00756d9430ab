"""Every term of the objective: a case computed by hand, and what its gradient asks for."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from partswap.discovery import objective

LN2 = math.log(2)


def grad(value: Tensor, at: Tensor) -> Tensor:
    found = torch.autograd.grad(value, at, allow_unused=True)[0]
    assert found is not None
    return found


def test_reconstruction_is_the_mean_absolute_difference_where_the_weight_is() -> None:
    picture = torch.zeros(1, 3, 1, 2, requires_grad=True)
    target = torch.tensor([1.0, 100.0]).expand(1, 3, 1, 2)
    weight = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    value = objective.reconstruction(picture, target, weight)
    assert value.item() == pytest.approx(1.0, abs=1e-4)
    g = grad(value, picture)
    torch.testing.assert_close(g[0, :, 0, 0], torch.full((3,), -1 / 3), atol=1e-4, rtol=0)
    assert (g[0, :, 0, 1] == 0).all()


def test_perceptual_compares_directions_of_features_not_their_lengths() -> None:
    a = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    b = torch.tensor([0.0, 7.0]).view(1, 2, 1, 1)
    assert objective.perceptual([a], [b]).item() == pytest.approx(2.0)  # orthogonal unit vectors
    assert objective.perceptual([a], [5 * a.detach()]).item() == pytest.approx(0.0, abs=1e-10)
    assert objective.perceptual([a, a], [b, a.detach()]).item() == pytest.approx(1.0)  # mean of the levels
    g = grad(objective.perceptual([a], [b]), a).flatten()
    assert g[0].abs() < 1e-6  # length is free
    assert g[1] < 0  # turn towards b


def test_variational_is_the_divergence_from_a_standard_normal_per_cell() -> None:
    zeros = torch.zeros(2, 3, 4, 4)
    assert objective.variational(zeros, zeros).item() == 0
    mean = torch.ones(1, 2, 1, 1, requires_grad=True)
    log_variance = torch.full((1, 2, 1, 1), math.log(4.0), requires_grad=True)
    value = objective.variational(mean, log_variance)
    assert value.item() == pytest.approx(2 * 0.5 * (1 + 4 - 1 - math.log(4)))
    torch.testing.assert_close(grad(value, mean), mean.detach())
    value = objective.variational(mean, log_variance)
    torch.testing.assert_close(grad(value, log_variance), torch.full((1, 2, 1, 1), 1.5))  # (var - 1) / 2
    torch.testing.assert_close(
        objective.variational(mean.expand(1, 2, 5, 5), log_variance.expand(1, 2, 5, 5)), value
    )


def test_critic_and_mutual_information() -> None:
    joint = torch.tensor([0.0, 0.0], requires_grad=True)
    assert objective.critic(joint, torch.zeros(2)).item() == pytest.approx(2 * LN2)
    torch.testing.assert_close(
        grad(objective.critic(joint, torch.zeros(2)), joint), torch.tensor([-0.25, -0.25])
    )
    shuffled = torch.tensor([0.0, 0.0], requires_grad=True)
    assert (grad(objective.critic(joint, shuffled), shuffled) > 0).all()
    logits = torch.tensor([1.0, 3.0], requires_grad=True)
    assert objective.mutual_information(logits).item() == 2.0
    torch.testing.assert_close(grad(objective.mutual_information(logits), logits), torch.tensor([0.5, 0.5]))


def test_the_critic_at_its_optimum_estimates_the_density_ratio() -> None:
    # Of two equally likely codes that always come with their own look, I = ln 2.
    t = torch.zeros(2, 2, requires_grad=True)  # logit for (code, look)
    joint, shuffled = [0, 1], [(0, 0), (0, 1), (1, 0), (1, 1)]
    optimizer = torch.optim.Adam([t], 0.1)
    for _ in range(300):
        optimizer.zero_grad()
        value = objective.critic(
            torch.stack([t[i, i] for i in joint]), torch.stack([t[i, j] for i, j in shuffled])
        )
        value.backward()
        optimizer.step()
    information = objective.mutual_information(torch.stack([t[i, i] for i in joint]).detach())
    assert information.item() == pytest.approx(LN2, abs=0.02)


def test_gmrf_is_the_energy_of_neighbours_in_the_foreground() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]]).view(1, 2, 1, 2).requires_grad_()  # two pixels, two parts
    on = torch.ones(1, 1, 1, 2)
    value = objective.gmrf(logits, on)
    # Centred: (1, -1) and (0, 0); squared difference 2; half of it over K = 2.
    assert value.item() == pytest.approx(0.5, abs=1e-5)
    g = grad(value, logits)
    assert g[0, 0, 0, 0] > 0 > g[0, 0, 0, 1]  # they move towards each other
    assert objective.gmrf(logits, torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)).item() == 0
    common = logits + torch.tensor([5.0, -3.0]).view(1, 1, 1, 2)
    torch.testing.assert_close(objective.gmrf(common, on), value)  # softmax does not see a common level


def test_entropy_is_in_nats_over_the_foreground_and_sharpens() -> None:
    on = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    even = torch.full((1, 4, 1, 2), 0.25)
    assert objective.entropy(even, on).item() == pytest.approx(math.log(4), abs=1e-3)
    sure = F.one_hot(torch.zeros(1, 1, 2, dtype=torch.long), 4).permute(0, 3, 1, 2).float()
    assert objective.entropy(sure, on).item() == pytest.approx(0, abs=1e-4)
    logits = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 2).clone().requires_grad_()
    g = grad(objective.entropy(logits.softmax(1), on), logits)
    assert g[0, 0, 0, 0] < 0 < g[0, 1, 0, 0]
    assert (g[..., 1] == 0).all()


def test_equivariance_is_a_symmetric_cross_entropy_whose_sides_learn_from_each_other() -> None:
    a = torch.tensor([20.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    b = torch.tensor([0.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    valid = torch.ones(1, 1, 1, 1)
    value = objective.equivariance(a, b, valid)
    # -ln(1/2) for b against a; (20 + 0) / 2 for a against b; half of the sum.
    assert value.item() == pytest.approx(0.5 * (LN2 + 10), abs=1e-3)
    ga, gb = torch.autograd.grad(value, (a, b))
    torch.testing.assert_close(gb.flatten(), torch.tensor([-0.25, 0.25]), atol=1e-3, rtol=0)
    torch.testing.assert_close(ga.flatten(), torch.tensor([0.25, -0.25]), atol=1e-3, rtol=0)
    assert objective.equivariance(a, b, torch.zeros(1, 1, 1, 1)).item() == 0


def test_describe_gives_unit_means_and_areas() -> None:
    parts = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0]]).view(1, 2, 1, 4)
    features = F.normalize(torch.tensor([[1.0, 0.0, 0.0, 5.0], [0.0, 1.0, 2.0, 1.0]]).view(1, 2, 1, 4), dim=1)
    descriptors, area = objective.describe(parts, features)
    torch.testing.assert_close(descriptors[0], torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, 1.0]]))
    torch.testing.assert_close(area, torch.tensor([[0.5, 0.125]]))


def test_contrast_wants_parts_alike_across_photos_and_apart_within_one() -> None:
    own = torch.eye(2).expand(3, 2, 2).clone()
    area = torch.full((3, 2), 0.2)
    # Similarity 1 to the own prototype, 0 to the other, at temperature 0.1.
    assert objective.contrast(own, area).item() == pytest.approx(math.log1p(math.exp(-10)), rel=1e-2)
    swapped = own.clone()
    swapped[0] = swapped[0].flip(0)
    assert objective.contrast(swapped, area).item() > 3
    same = torch.ones(3, 2, 2) / 2**0.5
    assert objective.contrast(same, area).item() == pytest.approx(LN2, abs=1e-4)
    area[0] = 0  # a part that is not there does not count
    assert objective.contrast(swapped, area).item() == pytest.approx(math.log1p(math.exp(-10)), rel=1e-2)
    turned = torch.tensor([[[0.6, 0.8], [0.0, 1.0]]] + [[[1.0, 0.0], [0.0, 1.0]]] * 2, requires_grad=True)
    g = grad(objective.contrast(turned, torch.full((3, 2), 0.2)), turned)
    assert g[0, 0, 0] < 0 < g[0, 0, 1]  # towards the other photos' first part, away from their second


def test_balance_is_a_hinge_below_a_share_of_the_foreground() -> None:
    on = torch.ones(1, 1, 1, 10)
    assert objective.balance(torch.full((1, 2, 1, 10), 0.5), on).item() == 0
    one = torch.stack([torch.ones(10), torch.zeros(10)]).view(1, 2, 1, 10).requires_grad_()
    value = objective.balance(one, on)
    assert value.item() == pytest.approx(0.5)  # one of two parts is dead
    g = grad(value, one)
    assert (g[0, 1] < 0).all()
    assert (g[0, 0] == 0).all()
    half = torch.stack([torch.full((10,), 0.925), torch.full((10,), 0.075)]).view(1, 2, 1, 10)
    assert objective.balance(half, on).item() == pytest.approx(0.25, abs=1e-4)  # half of the floor 0.15
    assert objective.balance(torch.zeros(1, 2, 1, 10), on).item() == pytest.approx(1.0)


def test_anchoring_is_the_cross_entropy_to_soft_anchors() -> None:
    logits = torch.zeros(1, 2, 1, 2, requires_grad=True)
    anchors = torch.tensor([[0.75, 0.5], [0.25, 0.5]]).view(1, 2, 1, 2)
    on = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    value = objective.anchoring(logits, anchors, on)
    assert value.item() == pytest.approx(LN2, abs=1e-4)
    torch.testing.assert_close(
        grad(value, logits)[0, :, 0], torch.tensor([[-0.25, 0.0], [0.25, 0.0]]), atol=1e-4, rtol=0
    )


def test_total_variation() -> None:
    parts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2).expand(1, 2, 3, 2)
    assert objective.total_variation(parts).item() == 2.0
    assert objective.total_variation(torch.full((1, 3, 4, 4), 1 / 3)).item() == 0

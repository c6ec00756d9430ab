"""What sits between the terms and the networks: adaptive weights, the even pull, hard maps, names of
terms."""

from __future__ import annotations

import pytest
import torch

from partswap.discovery.adaptive import AdaptiveWeight
from partswap.discovery.model import even_pull, harden
from partswap.discovery.terms import ABLATION_ROWS, ADDED_TERMS, Terms
from partswap.errors import UsageError


def test_the_multiplier_holds_a_value_at_its_target() -> None:
    # Something that would like to be 5, and costs (x - 5)^2 to be elsewhere; the constraint is x <= 2.
    weight = AdaptiveWeight(2.0, initial=0.0, rate=0.05, rho=0.1, most=100.0)
    x = torch.tensor(5.0, requires_grad=True)
    optimizer = torch.optim.SGD([x], 0.05)
    for _ in range(1500):
        optimizer.zero_grad()
        ((x - 5).square() + weight(x)).backward()
        optimizer.step()
        weight.update(x)
    assert x.item() == pytest.approx(2.0, abs=0.05)
    assert weight.multiplier.item() == pytest.approx(6.0, abs=0.3)  # the slope of (x - 5)^2 at 2


def test_the_multiplier_moves_by_the_excess_and_stays_within_its_bounds() -> None:
    weight = AdaptiveWeight(1.0, initial=0.5, rate=0.1, rho=0.0, most=0.8)
    weight.update(torch.tensor(2.0))
    assert weight.multiplier.item() == pytest.approx(0.6)
    weight.update(torch.tensor(100.0))
    assert weight.multiplier.item() == pytest.approx(0.8)
    weight.update(torch.tensor(-100.0))
    assert weight.multiplier.item() == 0


def test_the_penalty_is_an_augmented_lagrangian() -> None:
    weight = AdaptiveWeight(1.0, initial=0.5, rate=0.1, rho=2.0, most=1.0)
    above, below = (torch.tensor(v, requires_grad=True) for v in (3.0, 0.0))
    assert weight(above).item() == pytest.approx(0.5 * 2 + 0.5 * 2 * 4)
    assert torch.autograd.grad(weight(above), above)[0].item() == pytest.approx(0.5 + 2 * 2)
    assert torch.autograd.grad(weight(below), below)[0].item() == pytest.approx(0.5)  # rho acts above only


def test_the_multiplier_is_part_of_the_state() -> None:
    weight = AdaptiveWeight(1.0, initial=0.5, rate=0.1, rho=0.0, most=0.8)
    assert set(weight.state_dict()) == {"multiplier"}


def test_even_pull_changes_nothing_forward_and_levels_the_gradient_backward() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    foreground = torch.ones(2, 1, 4, 4)
    out = even_pull(x, foreground, torch.tensor(0.5))
    assert torch.equal(out, x)
    incoming = torch.nn.functional.normalize(torch.randn(2, 3, 4, 4), dim=1)
    for scale in (1e-4, 1.0, 1e4):  # whatever the scale of the loss
        g = torch.autograd.grad(even_pull(x, foreground, torch.tensor(0.5)), x, incoming * scale)[0]
        norm = g.square().sum(1).sqrt()
        pixels = foreground.sum() + 1
        assert (norm.sum() / pixels).item() == pytest.approx((0.5 / pixels).item(), rel=1e-4)
        cosine = torch.nn.functional.cosine_similarity(g, incoming, dim=1)
        torch.testing.assert_close(cosine, torch.ones_like(cosine))


def test_even_pull_keeps_a_loud_pixel_from_speaking_for_all() -> None:
    x = torch.zeros(1, 1, 8, 8, requires_grad=True)
    incoming = torch.ones(1, 1, 8, 8)
    incoming[..., 0, 0] = 1000.0
    g = torch.autograd.grad(even_pull(x, torch.ones(1, 1, 8, 8), torch.tensor(1.0)), x, incoming)[0]
    mean = 1063 / 65
    assert (g[..., 0, 0] / g[..., 1, 1]).item() == pytest.approx(4 * mean, rel=1e-3)


def test_even_pull_of_strength_zero_cuts_the_gradient() -> None:
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    pulled = even_pull(x, torch.ones(1, 1, 4, 4), torch.tensor(0.0))
    assert (torch.autograd.grad(pulled.square().sum(), x)[0] == 0).all()
    silent = even_pull(x, torch.ones(1, 1, 4, 4), torch.tensor(1.0))
    assert (torch.autograd.grad((silent * 0).sum(), x)[0] == 0).all()  # and no gradient stays none


def test_harden_is_one_hot_forward_and_straight_through_backward() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0]).view(1, 3, 1, 1).requires_grad_()
    hard = harden(logits.softmax(1))
    torch.testing.assert_close(hard.flatten(), torch.tensor([1.0, 0.0, 0.0]))
    pull = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    through = torch.autograd.grad((hard * pull).sum(), logits)[0]
    soft = torch.autograd.grad((logits.softmax(1) * pull).sum(), logits)[0]
    torch.testing.assert_close(through, soft)


@pytest.mark.parametrize("row", list(ABLATION_ROWS))
def test_every_row_of_the_papers_ablation_is_reachable(row: str) -> None:
    expected = {
        "none": set(),
        "var+adv": {"variational", "adversarial"},
        "var+adv+gmrf": {"variational", "adversarial", "gmrf"},
        "var+gmrf+entropy": {"variational", "gmrf", "entropy"},
        "full": {"variational", "adversarial", "gmrf", "entropy"},
    }[row]
    assert Terms.parse(row).active == {"perceptual", *expected, *ADDED_TERMS}
    assert Terms.parse(row, ADDED_TERMS).active == {"perceptual", *expected}


def test_terms_can_be_left_out_one_by_one() -> None:
    terms = Terms.parse("full", ["gmrf", "contrast"])
    assert not terms.has("gmrf")
    assert not terms.has("contrast")
    assert terms.has("entropy")
    assert terms.has("anchoring")


def test_unknown_names_are_named_and_the_known_ones_listed() -> None:
    with pytest.raises(UsageError, match=r"'most'.*var\+adv\+gmrf"):
        Terms.parse("most")
    with pytest.raises(UsageError, match=r"'gmfr'.*gmrf.*equivariance"):
        Terms.parse("full", ["gmfr"])

"""Where parts begin: the foreground's own frame, and clusters."""

from __future__ import annotations

import torch

from partswap.discovery.warm_start import Anchors, _kmeans, foreground_frame


def test_the_frame_runs_from_the_top_of_the_foreground_to_its_bottom() -> None:
    mask = torch.zeros(1, 1, 20, 20)
    mask[..., 5:15, 8:12] = 1  # rows 5..14, axis at 9.5
    v, u = foreground_frame(mask, mirror=False)[0]
    assert abs(v[5, 0].item()) < 0.11
    assert abs(v[14, 0].item() - 1) < 0.11
    torch.testing.assert_close(u[0, 8:12] * 10, torch.tensor([-1.5, -0.5, 0.5, 1.5]), atol=0.2, rtol=0.12)
    moved = torch.zeros(1, 1, 20, 20)
    moved[..., 8:18, 3:7] = 1
    torch.testing.assert_close(
        foreground_frame(moved, False)[0, :, 8:18, 3:7], foreground_frame(mask, False)[0, :, 5:15, 8:12]
    )


def test_mirroring_folds_left_onto_right() -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 3:11] = 1
    folded, plain = foreground_frame(mask, True), foreground_frame(mask, False)
    torch.testing.assert_close(folded[:, 1], plain[:, 1].abs())
    torch.testing.assert_close(folded[:, :1], plain[:, :1])
    flipped = foreground_frame(mask.flip(-1), True).flip(-1)
    torch.testing.assert_close(flipped, folded, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(foreground_frame(mask.flip(-1), False).flip(-1), plain, atol=1e-2)


def test_a_stray_pixel_does_not_move_the_frame_and_no_foreground_is_no_accident() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:60, 20:40] = 1
    stray = mask.clone()
    stray[..., 0, 0] = 1
    gap = (foreground_frame(mask, True) - foreground_frame(stray, True)).abs().max()
    assert gap < 0.05
    assert torch.isfinite(foreground_frame(torch.zeros(1, 1, 8, 8), True)).all()


def blobs() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    truth = torch.arange(600) % 3
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    return centres[truth] + torch.randn(600, 2, generator=g), truth


def test_k_means_finds_separated_clusters() -> None:
    points, truth = blobs()
    centres = _kmeans(points, 3, torch.Generator().manual_seed(1))
    label = torch.cdist(points, centres).argmin(1)
    for cluster in range(3):
        assert len(label[truth == cluster].unique()) == 1
    assert len(label.unique()) == 3


def test_k_means_is_deterministic_and_survives_too_few_points() -> None:
    points, _ = blobs()
    runs = [_kmeans(points, 3, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*runs)
    few = _kmeans(torch.ones(2, 2), 4, torch.Generator().manual_seed(0))
    assert torch.isfinite(few).all()


def test_anchors_tell_apart_what_the_frozen_features_tell_apart() -> None:
    g = torch.Generator().manual_seed(0)
    kind = torch.zeros(6, 12, 12, dtype=torch.long)
    kind[:, :, 6:] = 1
    directions = torch.randn(2, 20, generator=g) * 4
    features = directions[kind].permute(0, 3, 1, 2) + 0.2 * torch.randn(6, 20, 12, 12, generator=g)
    mask = torch.ones(6, 1, 12, 12)
    made = []
    for _ in range(2):
        anchors = Anchors(20, 2, keep=4, feature_weight=3.0, place_weight=(0.1, 0.1))
        anchors.fit(features, mask, True, torch.Generator().manual_seed(3))
        soft = anchors(anchors.embed_features(features), foreground_frame(mask, True))
        torch.testing.assert_close(soft.sum(1), torch.ones(6, 12, 12))
        made.append(soft)
    assert torch.equal(*made)
    label = made[0].argmax(1)
    agreement = (label == kind).float().mean()
    assert max(agreement, 1 - agreement) > 0.99

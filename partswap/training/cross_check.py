"""Foreground that no other photo speaks for: weights in hands, mats, chairs, strips of floor.

Automatic masks take in what people hold, and a net as large as the student learns such slips by heart. A
small classifier of frozen features, fitted on other photos, cannot; where it is sure of background, a mask is
mostly wrong (predictions out of sample against labels: Northcutt et al., Confident Learning, JAIR 2021).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partswap.discovery.model import FrozenFeatures, of_unit_norm
from partswap.discovery.step import normalise
from partswap.nets.encoder import Encoder
from partswap.training.data import PhotoSet
from partswap.training.views import step_generator

ENLARGED = 2
"""Photos are looked at so much larger: a dumbbell is a few cells then."""
STRIDE = 16
"""Features of this stride, and of the next, which says what is around."""
FOLDS = 5
CELLS = 200
"""Of each photo, so many places teach."""
OTHERS = 400
"""Of the photos that are not checked, at most so many teach as well."""
HIDDEN = 64
STEPS = 1000
BATCH = 2048
RATE = 2e-3
WHITENED = 65536
"""By the mean and deviation of so many places."""
ASKED = 0.25
"""Foreground in question: half of it is left of what masks say and the student does not, where the two were
averaged."""
SURE = 0.9
"""How sure of background the classifier must be."""
LARGEST = 0.25
"""Where more than this share of a foreground would go, it is clothes that the classifier does not know."""
OUTLINE = 0.007
"""Half of an outline's width, as a share of the frame's height."""
AT_ONCE = 8


@torch.no_grad()
def unsupported(
    encoder: Encoder,
    photos: PhotoSet,
    checked: Tensor,
    seed: int,
    report: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Where photos have foreground that other photos do not speak for.

    Args:
        encoder: of five levels, with ImageNet weights; photos: with masks; checked: bool (N,), the photos in
            question. Each is judged by what others show, and these are mostly no neighbours of its, which may
            show the same thing.

    Returns:
        bool (N, 1, H, W), False in photos that are not checked.
    """
    assert photos.masks is not None
    g = step_generator(seed, 912, 0, photos.images.device)
    own, others = checked.nonzero()[:, 0], (~checked).nonzero()[:, 0]
    found = torch.zeros_like(photos.masks, dtype=torch.bool)
    if not len(own):
        return found
    others = others[torch.randperm(len(others), generator=g, device=g.device)[:OTHERS]]
    rows = torch.cat([own, others])
    done, total = 0, len(rows) + len(own)  # each photo in question is looked at twice

    def looked_at(number: int) -> None:
        nonlocal done
        done += number
        if report is not None:
            report(done, total)

    features, targets = _places(encoder.eval(), photos, rows, g, looked_at)
    fold = torch.arange(len(rows), device=g.device) * FOLDS // len(own)  # others are beyond all folds
    for number in range(FOLDS):
        asked, teach = rows[fold == number], fold != number
        if not len(asked) or not teach.any():
            continue
        net = _fitted(features, targets, teach.nonzero()[:, 0], seed + number)
        for some in asked.split(AT_ONCE):
            masks = photos.masks[some].float() / 255 * photos.inside[some]
            seen = _features(encoder, photos.images[some])
            background = 1 - net(seen.movedim(1, -1))[..., 0].sigmoid().unsqueeze(1)
            background = F.interpolate(background, masks.shape[-2:], mode="bilinear", align_corners=False)
            found[some] = sizeable((background > SURE) & (masks > ASKED), masks)
            looked_at(len(some))
    return found


def _features(encoder: Encoder, images: Tensor) -> Tensor:
    """uint8 (n, 3, H, W) -> what the encoder sees of the photos enlarged, (n, D, h, w)."""
    x = F.interpolate(
        images.float() / 255, scale_factor=float(ENLARGED), mode="bilinear", align_corners=False
    )
    return FrozenFeatures.stack([of_unit_norm(level.float()) for level in encoder(normalise(x))[-2:]])


def _places(
    encoder: Encoder,
    photos: PhotoSet,
    rows: Tensor,
    g: torch.Generator,
    looked_at: Callable[[int], None],
) -> tuple[Tensor, Tensor]:
    """CELLS places of each photo, float16 (n, CELLS, D), and the share of foreground there, (n, CELLS)."""
    assert photos.masks is not None
    features, targets = [], []
    for some in rows.split(AT_ONCE):
        seen = _features(encoder, photos.images[some]).flatten(2)
        stride = STRIDE // ENLARGED
        within = photos.inside[some].float()
        inside = F.avg_pool2d(within, stride).flatten(1)
        share = F.avg_pool2d(photos.masks[some].float() / 255 * within, stride).flatten(1)
        share = share / inside.clamp(min=1e-6)  # of what lies within the photo
        chosen = torch.multinomial(inside, CELLS, replacement=True, generator=g)
        features.append(
            seen.gather(2, chosen.unsqueeze(1).expand(-1, seen.shape[1], -1)).transpose(1, 2).half()
        )
        targets.append(share.clamp(max=1).gather(1, chosen))
        looked_at(len(some))
    return torch.cat(features), torch.cat(targets)


@torch.enable_grad()
def _fitted(features: Tensor, targets: Tensor, teach: Tensor, seed: int) -> nn.Sequential:
    """A classifier of places: (..., D) -> (..., 1), the logit of foreground. Dropout keeps it from learning
    the slips of masks.

    Args:
        features: float16 (n, CELLS, D); targets: (n, CELLS), shares of foreground; teach: which rows to learn
            from. A batch at a time is widened: all of them might not fit.
    """
    device = features.device

    def drawn(number: int) -> tuple[Tensor, Tensor]:
        at = teach[torch.randint(len(teach), (number,), device=device)]
        cell = torch.randint(features.shape[1], (number,), device=device)
        return features[at, cell].float(), targets[at, cell]

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        some = drawn(WHITENED)[0]
        mean, deviation = some.mean(0), some.std(0)
        deviation = deviation.clamp(min=0.05 * deviation.mean())  # a channel silent so far must not shout
        net = nn.Sequential(
            nn.Linear(features.shape[2], HIDDEN), nn.ReLU(), nn.Dropout(0.3), nn.Linear(HIDDEN, 1)
        ).to(device)
        optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.001, STEPS)
        for _ in range(STEPS):
            places, foreground = drawn(BATCH)
            logits = net((places - mean) / deviation)[:, 0]
            loss = F.binary_cross_entropy_with_logits(logits, foreground)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    first = net[0]
    assert isinstance(first, nn.Linear)
    with torch.no_grad():  # what it was shown was whitened; from here on it sees features as they are
        first.weight.div_(deviation)
        first.bias.sub_(first.weight @ mean)
    return net.eval()


def sizeable(sure: Tensor, masks: Tensor) -> Tensor:
    """``sure``, bool (n, 1, H, W), without edges, which are left to the masks, but with the soft rim of what
    goes, and in no photo more than LARGEST of the foreground of ``masks``."""
    kept = wider_than_outline(sure)
    share = kept.sum((1, 2, 3)) / (masks > ASKED).sum((1, 2, 3)).clamp(min=1)
    kept = kept & (share <= LARGEST).view(-1, 1, 1, 1)
    return kept | ((_grown(kept.float(), _outline(kept)) > 0.5) & (masks > 0) & (masks <= 0.5))


def wider_than_outline(on: Tensor) -> Tensor:
    """``on``, bool (n, 1, H, W), without what is no wider than an outline: an opening."""
    reach = _outline(on)
    inner = 1 - _grown(1 - on.float(), reach)
    return on & (_grown(inner, 2 * reach) > 0.5)


def _outline(on: Tensor) -> int:
    """Half of an outline's width in pixels."""
    return max(1, round(OUTLINE * on.shape[-2]))


def _grown(on: Tensor, reach: int) -> Tensor:
    """Grown by ``reach`` pixels to every side."""
    return F.max_pool2d(on, 2 * reach + 1, 1, reach)

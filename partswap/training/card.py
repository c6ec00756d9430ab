"""What a trained model says about itself: the record in config.json and the model card."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from partswap.checkpoint.card import Score, build_card
from partswap.checkpoint.config import Config
from partswap.discovery.step import normalise
from partswap.training.data import PhotoSet
from partswap.training.options import TrainOptions


def training_record(
    options: TrainOptions, photos: int, device: torch.device, seconds: float
) -> dict[str, Any]:
    """Everything needed to repeat a run, as JSON values (no paths of the machine that ran it)."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        ours = version("partswap")
    except PackageNotFoundError:
        ours = "source"
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        **options.fingerprint(),
        "photos": photos,
        "pairs": options.pairs is not None or options.group_by_folder,
        "pretrained": "none" if options.pretrained == "none" else "ImageNet",
        "hardware": hardware,
        "minutes_of_last_session": round(seconds / 60, 1),
        "versions": {"partswap": ours, "torch": torch.__version__},
    }


@torch.no_grad()
def mirror_agreement(student: nn.Module, photos: PhotoSet, most: int = 64) -> Score:
    """The one score that needs no labels: of the foreground, the share of pixels (mean over at most `most`
    training photos) that keep their part when the photo is mirrored."""
    student.eval()
    device = next(student.parameters()).device
    rows = torch.linspace(0, len(photos) - 1, min(most, len(photos)), device=device).long()
    shares = []
    for chunk in rows.split(8):
        x = normalise(photos.images[chunk].float() / 255)
        labels, mirrored = student(x).argmax(1), student(x.flip(3)).argmax(1).flip(2)
        inside = labels > 0
        same = ((labels == mirrored) & inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)
        shares += same[inside.any(2).any(1)].tolist()
    value = sum(shares) / len(shares) if shares else 0.0
    return Score(
        "mirror_agreement", "foreground pixels that keep their part under mirroring", round(value, 3)
    )


def write_card(config: Config, scores: Sequence[Score] = ()) -> str:
    """A model card (Markdown with Hub metadata) for a fresh checkpoint; its licence is for its maker to
    choose."""
    record = config.training
    masks = "given with the photos" if record.get("masks") else "estimated from the photos themselves"
    text = f"""# {config.name}

{config.parts} parts, discovered without labels in {record.get("photos")} photos by `partswap train`.

- Foreground masks: {masks}. Encoder: `{config.student["backbone"]}`, pretrained: {record.get("pretrained")}.
- Training frame {config.size[0]}x{config.size[1]}, seed {record.get("seed")}, {record.get("hardware")}.
- Parts have numbers until somebody names them: `partswap parts show`, then `partswap parts name`.
- Before you share it: write its licence above (`license:`), and scores on labelled photos with
  `partswap evaluate --out FILE` and `partswap models card`.
"""
    dataset = f"its own {record.get('photos')} training photos"
    return build_card(config.name, text, scores=scores, dataset=dataset)

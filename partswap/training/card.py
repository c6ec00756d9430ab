"""What a trained model says about itself: the record in config.json and the model card."""

from __future__ import annotations

import platform
from typing import Any

import torch

from partswap.checkpoint.config import Config
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


def write_card(config: Config) -> str:
    """A model card (Markdown with Hub metadata) for a fresh checkpoint."""
    record = config.training
    masks = "given with the photos" if record.get("masks") else "estimated from the photos themselves"
    return f"""---
library_name: partswap
pipeline_tag: image-segmentation
tags: [part-discovery, unsupervised]
---

# {config.name}

{config.parts} parts, discovered without labels in {record.get("photos")} photos by `partswap train`.

- Foreground masks: {masks}. Encoder: `{config.student["backbone"]}`, pretrained: {record.get("pretrained")}.
- Training frame {config.size[0]}x{config.size[1]}, seed {record.get("seed")}, {record.get("hardware")}.
- Parts have numbers until somebody names them: `partswap parts show`, then `partswap parts name`.
"""

"""The last resort for a part that the source hardly shows: the checkpoint's renderer (needs torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from partswap.transfer.silhouette import shrunk

if TYPE_CHECKING:
    from torch import Tensor

    from partswap.checkpoint import Checkpoint
    from partswap.nets.renderer import Renderer
    from partswap.transfer.layers import Subject

__all__ = ["render"]


_loaded: dict[tuple[str, str], Renderer | None] = {}  # at most one, by path and revision


def _renderer(checkpoint: Checkpoint) -> Renderer | None:
    key = (str(checkpoint.path), checkpoint.revision)
    if key not in _loaded:
        from partswap.engine.loading import load_renderer

        _loaded.clear()
        _loaded[key] = load_renderer(checkpoint)
    return _loaded[key]


def render(checkpoint: Checkpoint, source: Subject, target: Subject, to: dict[int, int]) -> np.ndarray | None:
    """Paint the target's shape with the source's appearance codes: uint8 (h, w, 3) over the whole photo.

    Args:
        to: target id -> source id, where they differ.

    Returns:
        None if the checkpoint has no renderer.
    """
    renderer = _renderer(checkpoint)
    if renderer is None:
        return None
    import torch

    mean = torch.tensor(checkpoint.config.mean).view(1, 3, 1, 1)
    std = torch.tensor(checkpoint.config.std).view(1, 3, 1, 1)
    side = max(checkpoint.config.size)  # the renderer's scale is the one that it was trained at
    with torch.inference_mode():
        photo = torch.from_numpy(shrunk(source.rgb, _size(source, side))).permute(2, 0, 1)[None].float()
        codes = renderer.encode((photo / 255 - mean) / std, _maps(source, side))
        for target_id, source_id in to.items():
            codes[:, target_id - 1] = codes[:, source_id - 1]
        shape = torch.nn.functional.avg_pool2d(_maps(target, side), 2)  # the decoder doubles its input
        picture = renderer.decode(shape, codes) * std + mean
    return (picture[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _size(subject: Subject, side: int) -> tuple[int, int]:
    """The photo's (height, width) at a longer side of about `side`, multiples of 4."""
    height, width = (max(4, round(s * side / max(subject.photo) / 4) * 4) for s in subject.photo)
    return height, width


def _maps(subject: Subject, side: int) -> Tensor:
    import torch

    height, width = subject.content
    planes = [shrunk(one[:height, :width], _size(subject, side)) for one in subject.part_map]
    return torch.from_numpy(np.stack(planes)[None])

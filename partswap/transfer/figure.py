"""The figure of a pair: source, target, and ever more parts carried over."""

from __future__ import annotations

import numpy as np

from partswap.imaging.draw import sheet
from partswap.parts import Parts
from partswap.transfer.pair import Options, Pair, Transferred

__all__ = ["figure", "figure_steps"]

_STEPS = (("chest",), ("chest", "arm"), ("chest", "arm", "hip", "leg"))
_LARGEST = 1600  # pixels of a cell's height: the figure is for looking at, not for cutting up


def figure_steps(parts: Parts, names: list[str] | None = None) -> list[list[str]]:
    """Which parts each picture of the figure carries over.

    Args:
        names: add them one by one. None: chest, chest + arm, chest + arm + hip + leg, as far as the model
            knows these names; a model without any of them shows its first parts one by one.
    """
    known = set(parts.names)
    steps = [[name for name in step if name in known] for step in _STEPS]
    if names is None and not steps[-1]:
        names = parts.names[:4]
    if names is not None:
        steps = [names[: i + 1] for i in range(len(names))]
    return [step for i, step in enumerate(steps) if step and step not in steps[:i]]


def figure(
    pair: Pair, options: Options, names: list[str] | None = None
) -> tuple[np.ndarray, list[Transferred]]:
    """Draw the figure: uint8 (H, W, 3), and the transfers in it.

    A step that adds parts which the source does not show leaves them out and notes it.
    """
    steps = figure_steps(pair.parts, names)
    done = [pair.transfer(step, None, options, picky=False) for step in steps]
    pictures = [pair.source.image.rgb, pair.target.image.rgb, *(each.image for each in done)]
    captions = ["source", "target", *("+".join(step) for step in steps)]
    height = min(_LARGEST, max(64, pair.target.image.rgb.shape[0]))
    return sheet([pictures], [captions], cell_height=height), done

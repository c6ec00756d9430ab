"""Coarse groups of the 59 Clothing Co-Parsing classes: scores against garments rather than their cuts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GROUPS: dict[str, str] = {
    "hair": "hair",
    "skin": "skin",
    "hat": "hat",
    "top": "blouse bodysuit bra hoodie intimate jumper shirt sweater sweatshirt swimwear t-shirt top",
    "outer": "blazer cape cardigan coat jacket suit vest",
    "dress": "dress romper",
    "bottom": "jeans leggings panties pants shorts skirt stockings tights",
    "shoes": "boots clogs flats heels loafers pumps sandals shoes sneakers socks wedges",
    "accessories": "accessories bag belt bracelet earrings glasses gloves necklace purse ring scarf "
    "sunglasses tie wallet watch",
}
"""Group name -> class names, separated by spaces."""


def coarse(names: Sequence[str]) -> tuple[list[str], NDArray[np.uint8]]:
    """Group names (background first) and a table uint8 (256,) from a class's pixel value to its group's.

    names: class names, index = pixel value, 0 background. Values above the list stay as they are (255 is
        ignored).
    Raises ValueError for a class that belongs to no group.
    """
    group_of = {word: i for i, words in enumerate(GROUPS.values(), 1) for word in words.split()}
    unknown = [name for name in names[1:] if name not in group_of]
    if unknown:
        raise ValueError(f"no clothing group holds {', '.join(unknown[:5])}")
    table = np.arange(256, dtype=np.uint8)
    table[: len(names)] = [0, *(group_of[name] for name in names[1:])]
    return ["background", *GROUPS], table

"""Sheets of photos and what models see in them, for eyes: the bar "head, arms and legs right on sight".

    python benchmarks/photo_sheet.py PHOTOS OUT                        # 40 random photos, the embedded model
    python benchmarks/photo_sheet.py PHOTOS OUT --models OLD NEW       # two models beside each other
    python benchmarks/photo_sheet.py PHOTOS OUT --models OLD NEW --blind   # ... in an order in key.json

OUT gets 0.png, 1.png, ..., each with up to ``--page`` numbered photos. Blind means blind only
if the models name and colour their parts alike.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

import partswap
from partswap.imaging.draw import sheet
from partswap.imaging.load import list_images

HEIGHT = 260
T = TypeVar("T")


def picked(folder: Path, number: int, seed: int) -> list[Path]:
    """``number`` photos of a folder, the same for the same seed, in the order of their names."""
    photos = sorted(list_images(folder))
    return sorted(random.Random(seed).sample(photos, min(number, len(photos))))


def rows_of(
    photos: Sequence[Path], models: Sequence[partswap.Model], orders: Sequence[Sequence[int]], first: int
) -> tuple[list[list[np.ndarray]], list[list[str]]]:
    """A row per photo: itself, then what each model sees, in the photo's order of the models."""
    rows, captions = [], []
    for number, (photo, order) in enumerate(zip(photos, orders, strict=True), first):
        found = [models[i].segment(photo) for i in order]
        rows.append([found[0].image.rgb, *(one.overlay() for one in found)])
        captions.append([f"{number}", *(chr(ord("A") + i) for i in range(len(found)))])
    return rows, captions


def two_a_line(rows: Sequence[list[T]]) -> list[list[T]]:
    """Two photos a line, so that a page is about as wide as it is high."""
    return [list(chain(*rows[i : i + 2])) for i in range(0, len(rows), 2)]


def main() -> None:
    """Read the options, write the pages and, where the order is hidden, its key."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", nargs="+", default=["people"])
    parser.add_argument("--number", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=int, default=8, choices=range(1, 65), metavar="1-64")
    parser.add_argument("--blind", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    photos = picked(options.photos, options.number, options.seed)
    models = [partswap.load(name) for name in options.models]
    shuffled = random.Random(f"{options.seed} order")
    plain = list(range(len(models)))
    orders = [shuffled.sample(plain, len(plain)) if options.blind else plain for _ in photos]
    for page, start in enumerate(range(0, len(photos), options.page)):
        some = slice(start, start + options.page)
        rows, captions = rows_of(photos[some], models, orders[some], start)
        picture = sheet(two_a_line(rows), two_a_line(captions), cell_height=HEIGHT)
        Image.fromarray(picture).save(options.out / f"{page}.png")
    key = {str(i): [photo.name, *order] for i, (photo, order) in enumerate(zip(photos, orders, strict=True))}
    (options.out / "key.json").write_text(json.dumps({"models": options.models, "photos": key}, indent=1))


if __name__ == "__main__":
    main()

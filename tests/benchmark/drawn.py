"""Drawn photos with labels for the tests: a figure of three blocks (head, torso, legs) on a plain ground."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ["background", "head", "torso", "legs"]
COLOURS = np.array([[40, 40, 40], [220, 60, 60], [60, 220, 60], [60, 60, 220]], np.uint8)


def figure(number: int, height: int = 48, width: int = 32) -> np.ndarray:
    """A label map uint8 (H, W); the figure's place and size depend on `number`."""
    rng = np.random.default_rng(number)
    top, left = rng.integers(2, 8), rng.integers(4, 10)
    label = np.zeros((height, width), np.uint8)
    label[top : top + 8, left + 4 : left + 12] = 1
    label[top + 8 : top + 22, left : left + 16] = 2
    label[top + 22 : top + 38, left + 2 : left + 14] = 3
    label[0, :3] = 255
    return label


def paint(label: np.ndarray) -> np.ndarray:
    """The photo (H, W, 3) uint8 of a label map."""
    return COLOURS[np.where(label == 255, 0, label)]


def nearest_colour(rgb: np.ndarray) -> np.ndarray:
    """A predictor that is right on unchanged photos."""
    distance = ((rgb[..., None, :].astype(int) - COLOURS.astype(int)) ** 2).sum(-1)
    return distance.argmin(-1).astype(np.uint8)


def write_dataset(root: Path, count: int = 4) -> tuple[Path, Path, Path]:
    """Folders of photos and labels and a classes.json below `root`."""
    images, labels = root / "images", root / "labels"
    images.mkdir()
    labels.mkdir()
    for i in range(count):
        Image.fromarray(paint(figure(i))).save(images / f"{i:02d}.png")
        Image.fromarray(figure(i)).save(labels / f"{i:02d}.png")
    classes = root / "classes.json"
    classes.write_text(json.dumps({"parts": NAMES, "ignore": 255}))
    return images, labels, classes

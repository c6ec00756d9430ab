"""Drawn people with known parts: no photos and no trained model are needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from partswap.imaging.frame import fit
from partswap.imaging.load import LoadedImage, load_image
from partswap.parts import Parts
from partswap.segmentation import Segmentation

NAMES = {1: "head", 2: "chest", 3: "arm", 4: "hip", 5: "leg", 6: "foot"}
PARTS = Parts.default(6).renamed(NAMES)

# Rectangles in units of the person's height, from the crown, left and right of the middle.
SHAPE = {
    1: [(-0.06, 0.0, 0.06, 0.15)],
    2: [(-0.12, 0.15, 0.12, 0.42)],
    3: [(-0.19, 0.16, -0.12, 0.5), (0.12, 0.16, 0.19, 0.5)],
    4: [(-0.12, 0.42, 0.12, 0.52)],
    5: [(-0.12, 0.52, -0.02, 0.92), (0.02, 0.52, 0.12, 0.92)],
    6: [(-0.14, 0.92, -0.01, 1.0), (0.01, 0.92, 0.14, 1.0)],
}


def draw_labels(
    height: int, width: int, centre: float = 0.5, tall: float = 0.8, left_out: str = ""
) -> np.ndarray:
    """Label map of one person; left_out: names, or `right arm` for the arm on the photo's right."""
    labels = np.zeros((height, width), np.uint8)
    top, scale = (1 - tall) / 2 * height, tall * height
    for part, boxes in SHAPE.items():
        if NAMES[part] in left_out.split(","):
            continue
        for index, (x0, y0, x1, y1) in enumerate(boxes):
            if index and f"right {NAMES[part]}" in left_out:
                continue
            columns = slice(*(max(0, round(centre * width + x * scale)) for x in (x0, x1)))
            labels[round(top + y0 * scale) : round(top + y1 * scale), columns] = part
    return labels


def paint(labels: np.ndarray, seed: int) -> np.ndarray:
    """A striped look for every part, a noisy background."""
    rng = np.random.default_rng(seed)
    rgb = rng.integers(90, 130, (*labels.shape, 3)).astype(np.uint8)
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]]
    for part in NAMES:
        colours = rng.integers(0, 256, (2, 3)).astype(np.uint8)
        stripes = ((x + (part % 2) * y) // max(3, labels.shape[0] // 60)) % 2
        rgb[labels == part] = colours[stripes[labels == part]]
    return rgb


def segmentation_of(
    rgb: np.ndarray, labels: np.ndarray, alpha: np.ndarray | None = None, icc: bytes | None = None
) -> Segmentation:
    """A segmentation that knows the drawn labels, as soft as a net's."""
    import cv2

    loaded = load_image(rgb)
    image = LoadedImage(loaded.rgb, alpha, icc, "PNG", "drawn.png")
    _, frame = fit(rgb, 160, 32)
    part_map = np.zeros((7, *frame.net), np.float32)
    part_map[0] = 1
    height, width = frame.content
    for part in range(7):
        small = cv2.resize((labels == part).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        part_map[part, :height, :width] = cv2.GaussianBlur(small.reshape(height, width), (0, 0), 0.8)
    part_map /= part_map.sum(0)
    source = {"device": "cpu", "engine": "drawn", "model": "drawn", "revision": "0"}
    return Segmentation(image, part_map, frame, PARTS, tuple(NAMES), source)


def draw(
    height: int = 240,
    width: int = 180,
    seed: int = 0,
    alpha: np.ndarray | None = None,
    icc: bytes | None = None,
    **how: Any,
) -> Segmentation:
    """One drawn person, segmented; how: see `draw_labels`."""
    labels = draw_labels(height, width, **how)
    return segmentation_of(paint(labels, seed), labels, alpha, icc)

"""Drawn articulated figures with known parts, for training in a test."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = ["background", "head", "torso", "arm", "leg"]
HEAD, TORSO, ARM, LEG = 1, 2, 3, 4
FINE = 4
"""Figures are drawn this many times larger, then reduced, so that their borders are soft like a photo's."""


def _towards(start: NDArray[np.float64], angle: float, length: float) -> NDArray[np.float64]:
    """The end of a limb; angle 0 hangs down, in radians."""
    return start + length * np.array([np.sin(angle), np.cos(angle)])


def pose(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Labels (FINE * size, FINE * size) of a figure in a random pose: it leans, lifts its arms, spreads and
    bends its legs."""
    n = size * FINE
    labels = np.zeros((n, n), np.uint8)
    tall = n * rng.uniform(0.62, 0.78)
    lean = rng.uniform(-0.9, 0.9)
    neck = np.array([n * rng.uniform(0.42, 0.58), n * 0.5 - 0.24 * tall])
    hip = _towards(neck, lean, 0.32 * tall)
    across = np.array([np.cos(lean), -np.sin(lean)])

    def limb(part: int, points: list[NDArray[np.float64]], thick: float) -> None:
        for a, b in itertools.pairwise(points):
            start, end = ((int(p[0]), int(p[1])) for p in (a, b))
            cv2.line(labels, start, end, part, max(1, int(thick * tall)), cv2.LINE_8)

    for side in (-1, 1):
        spread = lean + side * rng.uniform(0.05, 0.6)
        knee = _towards(hip + side * 0.05 * tall * across, spread, 0.24 * tall)
        limb(
            LEG,
            [
                hip + side * 0.05 * tall * across,
                knee,
                _towards(knee, spread + rng.uniform(-0.4, 0.4), 0.24 * tall),
            ],
            0.11,
        )
    limb(TORSO, [_towards(neck, lean, 0.06 * tall), hip], 0.2)
    for side in (-1, 1):
        shoulder = _towards(neck, lean, 0.04 * tall) + side * 0.11 * tall * across
        lift = lean + side * rng.uniform(0.15, 2.6)
        elbow = _towards(shoulder, lift, 0.17 * tall)
        limb(
            ARM, [shoulder, elbow, _towards(elbow, lift + side * rng.uniform(-0.2, 0.9), 0.17 * tall)], 0.075
        )
    head = _towards(neck, lean + np.pi + rng.uniform(-0.3, 0.3), 0.08 * tall)
    cv2.circle(labels, (int(head[0]), int(head[1])), int(0.1 * tall), HEAD, -1)
    return labels


def paint(labels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Any colour for clothes, something like a skin for the head, blots for a background; (H, W) -> (H, W,
    3)."""
    n = labels.shape[0]
    blots = rng.uniform(60, 200, (8, 8, 3)).astype(np.float32)
    photo = cv2.resize(blots, (n, n), interpolation=cv2.INTER_CUBIC)
    photo += cv2.resize(rng.normal(0, 18, (n // FINE, n // FINE, 3)).astype(np.float32), (n, n))
    skin = np.array([205, 150, 115]) * rng.uniform(0.5, 1.2)
    looks = {
        HEAD: skin,
        TORSO: rng.uniform(0, 255, 3),
        ARM: rng.uniform(0, 255, 3),
        LEG: rng.uniform(0, 255, 3),
    }
    stripes = 25 * np.sign(np.sin(np.arange(n) * 2 * np.pi / (3 * FINE)))[:, None, None]
    for part, look in looks.items():
        on = labels == part
        pattern = look + (stripes if part == TORSO else 0) * np.ones((1, n, 1))
        photo[on] = np.broadcast_to(pattern, photo.shape)[on]
    return np.clip(photo + rng.normal(0, 5, photo.shape), 0, 255).astype(np.uint8)


def figure(seed: int, size: int = 64) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Photo (size, size, 3) and labels (size, size) of figure number ``seed``."""
    rng = np.random.default_rng(seed)
    labels = pose(rng, size)
    photo = cv2.resize(paint(labels, rng), (size, size), interpolation=cv2.INTER_AREA)
    return photo, labels[FINE // 2 :: FINE, FINE // 2 :: FINE].copy()


def write_figures(folder: Path, count: int, size: int = 64, first: int = 0) -> tuple[Path, Path]:
    """Write photos and foreground masks (no labels) of figures from number ``first`` on; returns both
    folders."""
    photos, masks = folder / "photos", folder / "masks"
    for made in (photos, masks):
        made.mkdir(parents=True)
    for i in range(first, first + count):
        photo, labels = figure(i, size)
        Image.fromarray(photo).save(photos / f"{i:04d}.png")
        Image.fromarray(((labels > 0) * 255).astype(np.uint8)).save(masks / f"{i:04d}.png")
    return photos, masks

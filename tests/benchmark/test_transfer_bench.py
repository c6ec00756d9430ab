"""The table of transfer: its measures by hand, and a run with a small untrained model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from partswap.benchmark.transfer import main
from partswap.benchmark.transfer_looks import random_pairs
from partswap.benchmark.transfer_metrics import (
    Perceptual,
    colour_distance,
    masked_l1,
    pattern_energy,
    psnr,
)
from partswap.benchmark.transfer_pairs import find_pairs


def test_l1_and_psnr_look_inside_the_mask_only():
    truth = np.zeros((10, 10, 3), np.uint8)
    picture = truth.copy()
    picture[:, 5:] = 255
    left = np.zeros((10, 10), bool)
    left[:, :5] = True
    assert masked_l1(picture, truth, left) == 0
    assert masked_l1(picture, truth, ~left) == 1
    assert psnr(picture, truth, left) == 60
    assert psnr(picture, truth, ~left) == pytest.approx(0)


def test_colour_distance_is_lab():
    white, black = np.full((5, 3), 255, np.uint8), np.zeros((3, 3), np.uint8)
    assert colour_distance(white, black) == pytest.approx(100, abs=0.1)
    assert colour_distance(white, white) == 0


def test_pattern_energy_of_a_ramp():
    ramp = np.repeat((np.arange(60) * 4).astype(np.uint8)[None, :, None].repeat(60, 0), 3, axis=2)
    assert pattern_energy(ramp, np.ones((60, 60), bool)) == pytest.approx(16)
    assert pattern_energy(ramp, np.zeros((60, 60), bool)) is None


def test_perceptual_distance_grows():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (70, 50, 3)).astype(np.uint8)
    mask = np.zeros((70, 50), bool)
    mask[20:50, 10:40] = True
    distance = Perceptual("none")
    near = np.clip(truth.astype(int) + rng.integers(-8, 9, truth.shape), 0, 255).astype(np.uint8)
    far = np.full_like(truth, 128)
    assert distance(truth, truth, mask) == pytest.approx(0, abs=1e-6)
    assert 0 < distance(near, truth, mask) < distance(far, truth, mask)


def test_random_pairs_never_pair_a_photo_with_itself(tmp_path):
    photos = [tmp_path / str(i) for i in range(5)]
    pairs = random_pairs(photos, 20, 0)
    assert all(a != b for a, b in pairs)
    assert pairs == random_pairs(photos, 20, 0)


def test_the_table(tiny_checkpoint, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for index in range(2):
        patches = rng.integers(0, 256, (8, 6, 3)).astype(np.uint8).repeat(15, 0).repeat(15, 1)
        Image.fromarray(patches).save(tmp_path / "images" / f"curl_{index}.png")
    assert len(find_pairs(tmp_path)) == 1
    words = ["--model", str(tiny_checkpoint), "--exercise", str(tmp_path), "--features", "none"]
    main([*words, "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["exercise"]["pairs"] == 1
    assert report["exercise"]["outside"] == 0
    assert {"transfer", "mean colour", "plain decoder"} <= set(report["exercise"]["rows"])
    main(words)
    assert "known answer: 1 pairs" in capsys.readouterr().out

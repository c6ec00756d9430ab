"""LPIPS inside a mask: zero for equal pictures, blind outside, and careful with what it reads."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from partswap.benchmark import lpips
from partswap.benchmark.lpips import Lpips
from partswap.benchmark.transfer import main
from partswap.checkpoint.files import sha256
from partswap.errors import UsageError

SHAPES = [(11, 11, 3, 64), (5, 5, 64, 192), (3, 3, 192, 384), (3, 3, 384, 256), (3, 3, 256, 256)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file laid out as the real one, of random convolutions and linear layers of ones."""
    rng = np.random.default_rng(0)
    kernels = [(rng.standard_normal(s) * (2 / np.prod(s[:3])) ** 0.5).astype(np.float32) for s in SHAPES]
    found = {
        "AlexNet_0": {
            f"Conv_{i}": {"kernel": k, "bias": np.zeros(k.shape[-1], np.float32)}
            for i, k in enumerate(kernels)
        },
        **{
            f"NetLinLayer_{i}": {"Conv_0": {"kernel": np.ones((1, 1, s[-1], 1), np.float32)}}
            for i, s in enumerate(SHAPES)
        },
    }
    path = tmp_path_factory.mktemp("lpips") / "alexnet.ckpt"
    path.write_bytes(pickle.dumps(found, protocol=3))
    return path


@pytest.fixture
def weights(written: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That file, taken for the known one."""
    monkeypatch.setattr(lpips, "SHA256", sha256(written))
    return written


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (128, 96, 3)).astype(np.uint8)


def test_equal_pictures_are_at_zero_and_grey_is_further_than_grain(weights: Path, noise: np.ndarray) -> None:
    distance = Lpips(weights)
    everywhere = np.ones(noise.shape[:2], bool)
    grain = np.random.default_rng(2).integers(-8, 9, noise.shape)
    near = np.clip(noise + grain, 0, 255).astype(np.uint8)
    assert distance(noise, noise, everywhere) == 0
    assert 0 < distance(near, noise, everywhere) < distance(np.full_like(noise, 128), noise, everywhere)


def test_distance_is_bounded_by_unit_features(weights: Path, noise: np.ndarray) -> None:
    # Unit vectors without negative entries are at most sqrt(2) apart: five layers add up to 10 at most.
    assert 0 < Lpips(weights)(255 - noise, noise, np.ones(noise.shape[:2], bool)) <= 10


def test_what_lies_far_outside_the_mask_does_not_count(weights: Path) -> None:
    truth = np.random.default_rng(3).integers(0, 256, (320, 96, 3)).astype(np.uint8)
    picture, mask = truth.copy(), np.zeros((320, 96), bool)
    picture[:40] = 0
    mask[300:] = True
    assert Lpips(weights)(picture, truth, mask) == 0
    assert Lpips(weights)(picture, truth, ~mask) > 0


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("was-run",)


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", pickle.dumps({"AlexNet_0": {}}), pickle.dumps(Evil())]
)
def test_other_files_are_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.ckpt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"is not alexnet\.ckpt"):
        Lpips(path)
    assert not (tmp_path / "was-run").exists()


def test_a_file_laid_out_alike_is_refused(written: Path) -> None:
    with pytest.raises(UsageError):
        Lpips(written)


def test_the_table_says_it_in_one_sentence(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    words = ["--model", str(tiny_checkpoint), "--exercise", str(tmp_path), "--features", "none"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--lpips", str(tmp_path / "none.ckpt")])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.splitlines()[-1].startswith("error: ")
    assert "none.ckpt" in said.splitlines()[-1]

"""The torch engine: what goes in and out, and checkpoints that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from partswap.checkpoint import read_checkpoint
from partswap.engine import open_engine
from partswap.engine.device import pick_device
from partswap.engine.loading import load_renderer, load_student
from partswap.errors import DeviceError, ModelError, UsageError


@pytest.fixture
def copy(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))


def test_run_gives_probabilities(tiny_checkpoint: Path):
    engine = open_engine(read_checkpoint(tiny_checkpoint), "torch", "cpu")
    assert (engine.name, engine.device) == ("torch", "cpu")
    batch = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), np.uint8)
    part_map = engine.run(batch)
    assert part_map.shape == (3, 7, 64, 96)
    assert part_map.dtype == np.float32
    np.testing.assert_allclose(part_map.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(engine.run(batch[1:2])[0], part_map[1], atol=1e-3)


def test_run_is_the_student_on_normalised_pixels(tiny_checkpoint: Path):
    checkpoint = read_checkpoint(tiny_checkpoint)
    batch = np.full((1, 32, 32, 3), 200, np.uint8)
    batch[:, :16, :, 0] = 30
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (checkpoint.config.mean, checkpoint.config.std))
    pixels = torch.from_numpy(batch).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected = load_student(checkpoint)((pixels - mean) / std).softmax(1)
    found = open_engine(checkpoint, "torch", "cpu").run(batch)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 64, 4), (1, 63, 64, 3)])
def test_run_refuses_other_shapes(tiny_checkpoint: Path, shape):
    engine = open_engine(read_checkpoint(tiny_checkpoint), "torch", "cpu")
    with pytest.raises(ValueError, match="uint8|multiples"):  # noqa: RUF043
        engine.run(np.zeros(shape, np.uint8))


def test_the_renderer_is_loaded_or_absent(tiny_checkpoint: Path, copy: Path):
    found = load_renderer(read_checkpoint(tiny_checkpoint))
    assert found is not None
    assert not found.training
    data = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**data, "renderer": None}))
    assert load_renderer(read_checkpoint(copy)) is None


def _change(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("student.head.bias"), r"missing: head\.bias"),
        (lambda t: t.update({"student.extra": torch.ones(1)}), "unknown: extra"),
        (lambda t: t.update({"student.head.bias": torch.ones(9)}), r"head\.bias is 9 where 7 belongs"),
        (lambda t: t["student.head.bias"].fill_(float("nan")), r"NaN .*head\.bias"),
    ],
)
def test_weights_that_do_not_fit_are_named(copy: Path, change, sentence):
    _change(copy, change)
    with pytest.raises(ModelError, match=sentence):
        open_engine(read_checkpoint(copy), "torch", "cpu")


@pytest.mark.parametrize(
    "student",
    [
        {"backbone": "no_such_net", "parts": 6, "width": 16},
        {"backbone": "mobilenetv3_small_050", "parts": 6, "width": 4096},
        {"backbone": "mobilenetv3_small_050", "parts": 6, "width": 0},
        {"backbone": "mobilenetv3_small_050", "parts": 6, "width": "wide"},
        {"parts": 6},
    ],
)
def test_configurations_that_cannot_be_built(copy: Path, student):
    data = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**data, "student": student}))
    with pytest.raises(ModelError):
        open_engine(read_checkpoint(copy), "torch", "cpu")


def test_unknown_engine(tiny_checkpoint: Path):
    with pytest.raises(UsageError, match="torch"):
        open_engine(read_checkpoint(tiny_checkpoint), engine="steam")


def test_devices(monkeypatch):
    assert pick_device("cpu") == torch.device("cpu")
    for word in ("gpu", "cpu:1", "cuda:-1", "cuda:x", "mps:1", ""):
        with pytest.raises(UsageError):
            pick_device(word)
    with pytest.raises(DeviceError, match="--engine onnx"):
        pick_device("tensorrt")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="cuda is not there"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto") == torch.device("cuda:0")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DeviceError, match="cuda:0 to cuda:1"):
        pick_device("cuda:2")

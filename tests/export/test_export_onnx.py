"""The ONNX file: what is in it, that it is checked before it is there, and that it runs on its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

import partswap.export.graph
from partswap.checkpoint import Checkpoint, read_checkpoint
from partswap.engine import open_engine
from partswap.export import Exported, export_onnx
from partswap.export.parity import BATCHES, LIMITS, Row, within
from partswap.nets.folding import fold_batch_norms

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_only.py"


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return read_checkpoint(tiny_checkpoint)


@pytest.fixture(scope="module")
def exported(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_onnx(checkpoint, tmp_path_factory.mktemp("export") / "tiny.onnx")


def test_the_graph(exported: Exported, checkpoint: Checkpoint):
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("image", "parts")
    operators = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in operators
    assert all(not node.metadata_props and not node.doc_string for node in model.graph.node)
    assert str(Path(__file__).parents[2]).encode() not in exported.path.read_bytes()
    assert exported.size == exported.path.stat().st_size


def test_the_parity_is_measured(exported: Exported):
    assert within(exported.parity, "fp32")
    assert len({(row.height, row.width) for row in exported.parity}) == 3
    assert [row.batch for row in exported.parity] == [*BATCHES] * 3


def test_the_metadata(exported: Exported, checkpoint: Checkpoint):
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert (found["name"], found["revision"], found["precision"]) == ("tiny", checkpoint.revision, "fp32")
    parts = json.loads(found["parts"])
    assert [part["name"] for part in parts[:4]] == ["background", "chest", "chest", "arm"]
    assert parts[3]["color"] == list(checkpoint.parts[2].color)
    preprocessing = json.loads(found["preprocessing"])
    assert (preprocessing["multiple"], preprocessing["inside_the_graph"]) == (32, True)
    assert len(json.loads(found["parity"])) == 9


def test_bare_half_and_opset(checkpoint: Checkpoint, exported: Exported, tmp_path: Path):
    path = tmp_path / "bare.onnx"
    done = export_onnx(checkpoint, path, half=True, opset=18, preprocessing=False)
    assert (done.precision, done.opset) == ("fp16", 18)
    assert done.size < 0.7 * exported.size
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].type == "tensor(float)"
    batch = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), np.uint8)
    mean, std = (np.float32(each) for each in (checkpoint.config.mean, checkpoint.config.std))
    image = ((batch / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    found = session.run(None, {"image": image})[0]
    expected = open_engine(checkpoint, "torch", "cpu").run(batch)
    np.testing.assert_allclose(found, expected, atol=LIMITS["fp16"][0])


def test_the_command(checkpoint: Checkpoint, exported: Exported, cli, tmp_path: Path, monkeypatch):
    graph = onnx.load(exported.path)  # made once: tracing takes seconds
    monkeypatch.setattr(partswap.export.graph, "student_graph", lambda *_, **__: graph)
    path = tmp_path / "made" / "tiny.onnx"
    done = cli("export-onnx", "--model", checkpoint.path, "--out", path)
    assert done.code == 0, done.err
    assert "largest difference" in done.out
    assert [each.name for each in path.parent.iterdir()] == ["tiny.onnx"]
    again = cli("export-onnx", "--model", checkpoint.path, "--out", path)
    assert again.code == 2
    assert "--overwrite" in again.err


def test_a_graph_that_differs_leaves_no_file(
    checkpoint: Checkpoint, exported: Exported, cli, tmp_path: Path, monkeypatch
):
    graph = onnx.load(exported.path)
    bias = next(each for each in graph.graph.initializer if each.name.endswith("head.bias"))
    bias.CopyFrom(
        onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.eye(7, dtype="f")[0], bias.name)
    )
    monkeypatch.setattr(partswap.export.graph, "student_graph", lambda *_, **__: graph)
    done = cli("export-onnx", "--model", checkpoint.path, "--out", tmp_path / "tiny.onnx")
    assert done.code == 1
    assert "differs from torch" in done.err
    assert "largest difference" in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("opset", [7, 99])
def test_an_opset_that_cannot_be_had(checkpoint: Checkpoint, cli, tmp_path: Path, opset):
    done = cli("export-onnx", "--model", checkpoint.path, "--out", tmp_path / "x.onnx", "--opset", opset)
    assert done.code == 2
    assert "choose from" in done.err
    assert not list(tmp_path.iterdir())


def test_limits():
    row = Row(1, 32, 32, 2e-4, 1.0)
    assert not within([row], "fp32")
    assert within([row], "fp16")
    assert not within([Row(1, 32, 32, float("nan"), 1.0)], "fp16")
    assert not within([Row(1, 32, 32, 0.0, 0.99)], "fp16")


def test_folding_changes_nothing():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1, bias=False))
    net.append(nn.BatchNorm2d(4))
    pictures = torch.randn(4, 3, 16, 16)
    net.train()(pictures)
    with torch.no_grad():
        expected = net.eval()(pictures)
        found = fold_batch_norms(net, pictures[:1])(pictures)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    torch.testing.assert_close(found, expected)


def test_the_example_needs_no_partswap(exported: Exported, photo: Path, tmp_path: Path):
    labels = tmp_path / "labels.png"
    subprocess.run(
        [sys.executable, "-I", EXAMPLE, exported.path, photo, labels], check=True, cwd=tmp_path, timeout=60
    )
    with Image.open(labels) as image:
        assert image.size == (90, 120)
        assert len(set(image.getdata())) > 1
    code = [line for line in EXAMPLE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    assert len(code) <= 15
    assert "partswap" not in "".join(line for line in code if "import" in line)

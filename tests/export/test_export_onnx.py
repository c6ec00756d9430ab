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
from safetensors import safe_open
from torch import nn

import partswap.engine.torch_engine
import partswap.export.graph
from partswap.checkpoint import Checkpoint, embedded_models, read_checkpoint
from partswap.engine import open_engine
from partswap.export import Exported, export_onnx
from partswap.export.graph import make_graph
from partswap.export.half import halved
from partswap.export.parity import BATCHES, Row, within, worst
from partswap.nets.folding import fold_batch_norms

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_only.py"


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return read_checkpoint(tiny_checkpoint)


@pytest.fixture(scope="module")
def exported(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_onnx(checkpoint, {"student": tmp_path_factory.mktemp("export") / "tiny.onnx"})[0]


@pytest.fixture(scope="module")
def renderer(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_onnx(checkpoint, {"renderer": tmp_path_factory.mktemp("export") / "renderer.onnx"})[0]


@pytest.fixture(scope="module")
def plain(checkpoint: Checkpoint) -> onnx.ModelProto:
    """The student's graph with its kernels folded, in float32."""
    return make_graph(checkpoint, compact=False)


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


def test_the_file_is_no_larger_than_the_checkpoints_weights(exported: Exported, renderer: Exported):
    kernels = [each for each in onnx.load(exported.path).graph.initializer if len(each.dims) > 1]
    half = [each for each in kernels if each.data_type == onnx.TensorProto.FLOAT16]
    assert len(half) > 0.9 * sum(not each.name.endswith(".scale") for each in kernels)
    assert exported.size < 1.1 * exported.weights + (1 << 17)
    assert renderer.size < 1.1 * renderer.weights + (1 << 17)


@pytest.mark.parametrize("name", ["model.onnx", "renderer.onnx"])
def test_the_embedded_graphs_are_no_larger_than_the_embedded_weights(name):
    folder = embedded_models()["people"]
    with safe_open(folder / "model.safetensors", framework="np") as file:
        prefix = "student." if name == "model.onnx" else "renderer."
        tensors = [file.get_tensor(key) for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
    assert (folder / name).stat().st_size <= 1.1 * sum(each.nbytes for each in tensors)


def test_compact_storage_loses_nothing(plain: onnx.ModelProto, exported: Exported):
    """Folded in float32 by torch, or multiplied out by ONNX Runtime when it loads: the same bits."""
    batch = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), np.uint8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    found = [
        onnxruntime.InferenceSession(each, options, providers=["CPUExecutionProvider"]).run(
            None, {"image": batch}
        )[0]
        for each in (plain.SerializeToString(), exported.path.read_bytes())
    ]
    np.testing.assert_array_equal(*found)


def test_bare_and_opset(checkpoint: Checkpoint, tmp_path: Path):
    paths = {which: tmp_path / f"{which}.onnx" for which in ("student", "renderer")}
    done = export_onnx(checkpoint, paths, opset=18, preprocessing=False)
    assert [(each.which, each.precision, each.opset) for each in done] == [
        ("student", "fp32", 18),
        ("renderer", "fp32", 18),
    ]
    session = onnxruntime.InferenceSession(paths["student"], providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].type == "tensor(float)"
    batch = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), np.uint8)
    mean, std = (np.float32(each) for each in (checkpoint.config.mean, checkpoint.config.std))
    image = ((batch / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    found = session.run(None, {"image": image})[0]
    expected = open_engine(checkpoint, "torch", "cpu").run(batch)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_half_is_float16_arithmetic_within_its_limits(checkpoint: Checkpoint, tmp_path: Path):
    (done,) = export_onnx(checkpoint, {"renderer": tmp_path / "half.onnx"}, half=True)
    assert done.precision == "fp16"
    assert within(done.parity, "fp16")
    assert worst(done.parity)[0] > 1e-5  # it was rounded, or it would be as exact as float32
    model = onnx.load(done.path)
    types = {each.name: each.data_type for each in model.graph.initializer}
    assert all(
        types[node.input[1]] == onnx.TensorProto.FLOAT16
        for node in model.graph.node
        if node.op_type == "Conv"
    )


def test_half_keeps_the_first_layers_where_rounding_them_costs_too_much(plain: onnx.ModelProto):
    tried = []

    class Strict:
        def rows(self, model: bytes, optimized: bool) -> list[Row]:
            assert not optimized
            casts = sum(node.op_type == "Cast" for node in onnx.load_model_from_string(model).graph.node)
            tried.append(casts)
            return [Row(1, 32, 32, 1e-2 / len(tried), 1.0)]

    model, rows = halved(plain, Strict())
    assert len(tried) == 2
    assert tried[0] > tried[1] > 0
    assert rows[0].difference == 5e-3
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert not convolutions[0].input[1].endswith(".half")
    assert convolutions[-1].input[1].endswith(".half")


def test_the_renderers_graph(renderer: Exported, checkpoint: Checkpoint):
    model = onnx.load(renderer.path)
    onnx.checker.check_model(model, full_check=True)
    assert [each.name for each in model.graph.input] == ["image", "source_map", "target_map", "look"]
    assert [each.name for each in model.graph.output] == ["picture"]
    free = {dim.dim_param for each in model.graph.input for dim in each.type.tensor_type.shape.dim} - {""}
    assert len(free) == 5  # batch, two sides of the source, two of the target
    assert within(renderer.parity, "fp32")
    assert [row.batch for row in renderer.parity] == [*BATCHES] * 3
    session = onnxruntime.InferenceSession(renderer.path, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert (about["net"], about["revision"]) == ("renderer", checkpoint.revision)
    assert json.loads(about["preprocessing"])["multiple"] == 4


def test_the_command(
    checkpoint: Checkpoint, exported: Exported, renderer: Exported, cli, tmp_path: Path, monkeypatch
):
    _reuse(monkeypatch, exported, renderer)
    path = tmp_path / "made" / "tiny.onnx"
    done = cli("export-onnx", "--model", checkpoint.path, "--out", path)
    assert done.code == 0, done.err
    assert done.out.count("largest difference") == 2
    assert sorted(each.name for each in path.parent.iterdir()) == ["tiny.onnx", "tiny.renderer.onnx"]
    again = cli("export-onnx", "--model", checkpoint.path, "--out", path)
    assert again.code == 2
    assert "--overwrite" in again.err


def _reuse(monkeypatch, exported: Exported, renderer: Exported, change=lambda graph: None) -> None:
    """The graphs as they were made before: tracing takes seconds."""

    def make(checkpoint: Checkpoint, which: str, **options: object) -> onnx.ModelProto:
        graph = onnx.load((exported if which == "student" else renderer).path)
        if which == "student":
            change(graph)
        return graph

    monkeypatch.setattr(partswap.export.graph, "make_graph", make)


def test_the_names_in_a_models_folder(
    checkpoint: Checkpoint, exported: Exported, renderer: Exported, cli, tmp_path, monkeypatch
):
    _reuse(monkeypatch, exported, renderer)
    done = cli("export-onnx", "--model", checkpoint.path, "--out", tmp_path / "model.onnx", "--json")
    assert done.code == 0, done.err
    assert [each["net"] for each in json.loads(done.out)] == ["student", "renderer"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.onnx", "renderer.onnx"]


@pytest.mark.parametrize("which", ["student", "renderer"])
def test_a_graph_that_differs_leaves_no_file(
    checkpoint: Checkpoint, exported: Exported, renderer: Exported, cli, tmp_path: Path, monkeypatch, which
):
    def wrong(graph: onnx.ModelProto) -> None:
        bias = next(each for each in graph.graph.initializer if each.name.endswith("head.bias"))
        values = onnx.numpy_helper.to_array(bias) + np.eye(7, dtype="f")[0]
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))

    _reuse(monkeypatch, exported, renderer, wrong if which == "student" else lambda graph: None)
    if which == "renderer":  # the student is fine, and yet it is not left alone
        monkeypatch.setattr(
            partswap.engine.torch_engine.TorchEngine,
            "render",
            lambda self, photo, source, target, look: np.zeros(
                (*target.shape[:1], *target.shape[2:], 3), "f"
            ),
        )
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
        kernel = net[0].weight.clone()
        scales = fold_batch_norms(net, pictures[:1])
        found = net(pictures)
    assert sorted(scales) == ["0.weight", "3.weight"]
    torch.testing.assert_close(net[0].weight, kernel * scales["0.weight"].view(-1, 1, 1, 1), rtol=0, atol=0)
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

"""The ONNX engine: the same part maps as torch, which graph it takes, what it says, and no torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import partswap.export.onnx
from partswap.checkpoint import Checkpoint, read_checkpoint
from partswap.engine import graphs, onnx_engine, open_engine
from partswap.engine.graphs import cache_folder, cached_graph, graph_key
from partswap.errors import DeviceError, PartswapError, UsageError


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkpoint]:
    """With its graph in a cache that only these tests see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("graphs")))
        found = read_checkpoint(tiny_checkpoint)
        open_engine(found, "onnx", "cpu")
        yield found


def _pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 64, 96), (5, 96, 64)])
def test_it_computes_what_torch_computes(checkpoint: Checkpoint, shape):
    onnx, torch = (open_engine(checkpoint, name, "cpu") for name in ("onnx", "torch"))
    assert (onnx.name, onnx.device, onnx.providers) == ("onnx", "cpu", ("CPUExecutionProvider",))
    found = onnx.run(_pictures(*shape))
    assert found.dtype == np.float32
    # noise through random weights amplifies rounding: torch differs as much from itself between batches
    np.testing.assert_allclose(found, torch.run(_pictures(*shape)), atol=1e-3)


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 64, 4), (1, 63, 64, 3)])
def test_run_refuses_other_shapes(checkpoint: Checkpoint, shape):
    with pytest.raises(ValueError, match="uint8|multiples"):  # noqa: RUF043
        open_engine(checkpoint, "onnx", "cpu").run(np.zeros(shape, np.uint8))


def test_auto_is_onnx_where_there_is_a_graph(checkpoint: Checkpoint, monkeypatch):
    monkeypatch.setattr(partswap.export.onnx, "export_onnx", _no_export)
    said: list[str] = []
    assert open_engine(checkpoint, say=said.append).name == "onnx"
    assert said == []


def _no_export(*_: object, **__: object) -> None:
    raise PartswapError("this model cannot be written")


def test_auto_falls_back_to_torch_with_one_line(tiny_checkpoint: Path, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(partswap.export.onnx, "export_onnx", _no_export)
    monkeypatch.setattr(graphs, "is_embedded", lambda path: True)
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))
    said: list[str] = []
    assert open_engine(read_checkpoint(folder), "auto", "cpu", say=said.append).name == "torch"
    assert said == []
    (folder / "model.onnx").write_bytes(b"no graph")
    assert open_engine(read_checkpoint(folder), "auto", "cpu", say=said.append).name == "torch"
    assert "torch runs this model" in said[-1]
    with pytest.raises(PartswapError, match="cannot be written"):
        open_engine(read_checkpoint(folder), "onnx", "cpu", say=said.append)


def test_a_graph_in_the_folder_is_used_if_it_came_with_partswap(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch
):
    folder = Path(shutil.copytree(checkpoint.path, tmp_path / "copy"))
    shutil.copy(cached_graph(checkpoint), folder / "model.onnx")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    said: list[str] = []
    # a stranger's file could say that it belongs to these weights, and hold anything: it is not even opened
    assert open_engine(read_checkpoint(folder), "auto", "cpu", say=said.append).name == "torch"
    monkeypatch.setattr(graphs, "is_embedded", lambda path: path == folder)
    assert open_engine(read_checkpoint(folder), "onnx", "cpu", say=said.append).name == "onnx"
    assert said == []
    assert not cache_folder().exists()


@pytest.mark.parametrize("damage", ["other weights", "cut off"])
def test_a_graph_that_does_not_belong_is_not_used(
    checkpoint: Checkpoint, tmp_path: Path, damage, monkeypatch
):
    import onnx

    monkeypatch.setattr(graphs, "is_embedded", lambda path: True)
    folder = Path(shutil.copytree(checkpoint.path, tmp_path / "copy"))
    graph = cached_graph(checkpoint)
    if damage == "cut off":
        (folder / "model.onnx").write_bytes(graph.read_bytes()[:5000])
    else:
        model = onnx.load(graph)
        onnx.helper.set_model_props(model, {"key": "0123456789ab-01234567"})
        onnx.save(model, folder / "model.onnx")
    said: list[str] = []
    engine = open_engine(read_checkpoint(folder), "onnx", "cpu", say=said.append)
    assert engine.run(_pictures(1, 32, 32)).shape == (1, 7, 32, 32)
    assert len(said) == 1
    assert "not used" in said[0]


def test_the_key_follows_the_weights_and_the_preprocessing(checkpoint: Checkpoint, tmp_path: Path):
    folder = Path(shutil.copytree(checkpoint.path, tmp_path / "copy"))
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, "mean": [0.1, 0.2, 0.3]}))
    other = read_checkpoint(folder)
    assert graph_key(other) != graph_key(checkpoint)
    assert graph_key(other).startswith(checkpoint.revision)


def test_cuda_that_is_not_there_is_an_error_with_the_mend(checkpoint: Checkpoint, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match=r"pip install onnxruntime-gpu"):
        open_engine(checkpoint, "onnx", "cuda")


def test_cuda_that_the_runtime_cannot_load_is_never_the_cpu_in_silence(checkpoint: Checkpoint, monkeypatch):
    built = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, providers: real(path, options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(DeviceError, match="cuDNN"):
        open_engine(checkpoint, "onnx", "cuda:0")
    said: list[str] = []
    monkeypatch.setattr(onnx_engine, "_driver_there", lambda: False)
    assert open_engine(checkpoint, "onnx", "auto", say=said.append).device == "cpu"
    assert said == []  # a machine without a driver has nothing to be told
    monkeypatch.setattr(onnx_engine, "_driver_there", lambda: True)
    assert open_engine(checkpoint, "onnx", "auto", say=said.append).device == "cpu"
    assert len(said) == 1
    assert "runs on the CPU" in said[0]


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "cuda:x", ""])
def test_unknown_devices(checkpoint: Checkpoint, device):
    with pytest.raises(UsageError, match="device"):
        open_engine(checkpoint, "onnx", device)


def test_threads(checkpoint: Checkpoint):
    assert open_engine(checkpoint, "onnx", "cpu", threads=1).run(_pictures(1, 32, 32)).shape[1] == 7
    for threads in (0, 10_000):
        with pytest.raises(UsageError, match="threads"):
            open_engine(checkpoint, "onnx", "cpu", threads=threads)


def test_segment_does_not_import_torch(checkpoint: Checkpoint, photo: Path, tmp_path: Path):
    program = (
        "import sys\n"
        "from partswap.cli.app import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as ended:\n    assert not ended.code, ended.code\n"
        "print('torch' in sys.modules, 'onnx' in sys.modules, file=sys.stderr)\n"
    )
    words = [str(photo), "--model", str(checkpoint.path), "--out", str(tmp_path / "out"), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", program, "segment", *words, "--quiet", "--threads", "1"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stderr.split() == ["False", "False"]
    record = json.loads(done.stdout)
    assert (record["engine"], record["providers"]) == ("onnx", "CPUExecutionProvider")
    assert (tmp_path / "out" / "photo.parts.png").is_file()

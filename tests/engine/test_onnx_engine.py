"""The ONNX engine: the same part maps as torch, which graph it takes, what it says, and no torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import partswap.checkpoint
import partswap.export.onnx
from partswap.checkpoint import Checkpoint, read_checkpoint
from partswap.engine import base, onnx_engine, open_engine, runtime
from partswap.engine.cuda import Driver, driver, missing_libraries
from partswap.engine.graphs import cache_folder, cached_graph, graph_key
from partswap.engine.threads import net_threads
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


def test_auto_makes_the_graph_once(tiny_checkpoint: Path, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    found, said = read_checkpoint(tiny_checkpoint), []
    assert open_engine(found, "auto", "cpu", say=said.append).name == "onnx"
    assert len(said) == 1
    assert "once" in said[0]
    assert [each.name for each in cached_graph(found).parent.iterdir()] == [cached_graph(found).name]
    monkeypatch.setattr(partswap.export.onnx, "export_onnx", _no_export)
    assert open_engine(found, "auto", "cpu", say=said.append).name == "onnx"
    assert len(said) == 1


def test_auto_falls_back_to_torch_with_one_line(tiny_checkpoint: Path, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(partswap.export.onnx, "export_onnx", _no_export)
    said: list[str] = []
    assert open_engine(read_checkpoint(tiny_checkpoint), "auto", "cpu", say=said.append).name == "torch"
    assert "torch runs this model" in said[-1]
    with pytest.raises(PartswapError, match="cannot be written"):
        open_engine(read_checkpoint(tiny_checkpoint), "onnx", "cpu", say=said.append)


@pytest.fixture
def came_with_partswap(monkeypatch) -> None:
    """Every folder counts as that of an embedded model, whose graphs are opened."""
    monkeypatch.setattr(partswap.checkpoint, "is_embedded", lambda path: True)


def test_a_graph_in_anybodys_folder_is_never_opened(checkpoint: Checkpoint, tmp_path: Path):
    folder = Path(shutil.copytree(checkpoint.path, tmp_path / "copy"))
    (folder / "model.onnx").write_bytes(b"anything")
    said: list[str] = []
    engine = open_engine(read_checkpoint(folder), "onnx", "cpu", say=said.append)
    assert engine.run(_pictures(1, 32, 32)).shape == (1, 7, 32, 32)
    assert said == []


@pytest.mark.usefixtures("came_with_partswap")
def test_a_graph_that_came_with_partswap_is_used(checkpoint: Checkpoint, tmp_path: Path, monkeypatch):
    folder = Path(shutil.copytree(checkpoint.path, tmp_path / "copy"))
    shutil.copy(cached_graph(checkpoint), folder / "model.onnx")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    said: list[str] = []
    assert open_engine(read_checkpoint(folder), "onnx", "cpu", say=said.append).name == "onnx"
    assert said == []
    assert not cache_folder().exists()


def _write(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString())


def _other_weights(model: onnx.ModelProto) -> None:
    onnx.helper.set_model_props(model, {"key": "0123456789ab-01234567"})


def _other_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "other"


@pytest.mark.usefixtures("came_with_partswap")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_other_weights, "other weights"),
        (_other_output, "another output"),
        (None, "cannot be loaded"),
    ],
)
def test_a_graph_that_does_not_belong_is_not_used(checkpoint: Checkpoint, tmp_path: Path, change, sentence):
    folder = Path(shutil.copytree(checkpoint.path, tmp_path / "copy"))
    graph = cached_graph(checkpoint)
    if change is None:
        (folder / "model.onnx").write_bytes(graph.read_bytes()[:5000])
    else:
        model = onnx.load(graph)
        change(model)
        _write(model, folder / "model.onnx")
    said: list[str] = []
    engine = open_engine(read_checkpoint(folder), "onnx", "cpu", say=said.append)
    assert engine.run(_pictures(1, 32, 32)).shape == (1, 7, 32, 32)
    assert len(said) == 1
    assert sentence in said[0]
    assert "not used" in said[0]


def test_the_key_follows_the_weights_and_the_preprocessing(checkpoint: Checkpoint, tmp_path: Path):
    folder = Path(shutil.copytree(checkpoint.path, tmp_path / "copy"))
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, "mean": [0.1, 0.2, 0.3]}))
    other = read_checkpoint(folder)
    assert graph_key(other) != graph_key(checkpoint)
    assert graph_key(other).startswith(checkpoint.revision)


def _machine(monkeypatch, cards: int | None, cuda: str = "13.0") -> None:
    """A machine with a driver that finds so many cards; None: without a driver."""
    found = None if cards is None else Driver(cards, cuda)
    for module in (base, onnx_engine, runtime):
        monkeypatch.setattr(module, "driver", lambda: found)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(runtime.PROVIDERS.values()))
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0", raising=False)
    monkeypatch.setattr(runtime, "installed", lambda package: package == "onnxruntime-gpu")


def _only_cpu(monkeypatch) -> None:
    """A runtime that leaves out, as it does, the providers that it cannot load."""
    real = onnxruntime.InferenceSession

    def session(data: bytes, options: object, providers: object, enable_fallback: int) -> object:
        return real(data, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)


def test_a_runtime_without_cuda_is_an_error_with_the_mend(checkpoint: Checkpoint, monkeypatch):
    _machine(monkeypatch, 1)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match=r"pip install onnxruntime-gpu"):
        open_engine(checkpoint, "onnx", "cuda")


def test_both_packages_at_once_are_an_error_with_the_mend(checkpoint: Checkpoint, monkeypatch):
    _machine(monkeypatch, 1)
    monkeypatch.setattr(runtime, "installed", lambda package: True)
    _only_cpu(monkeypatch)
    with pytest.raises(DeviceError, match=r"pip uninstall -y onnxruntime onnxruntime-gpu"):
        open_engine(checkpoint, "onnx", "cuda")


@pytest.mark.parametrize("engine", ["onnx", "auto"])
def test_a_machine_without_a_card(checkpoint: Checkpoint, monkeypatch, engine):
    _machine(monkeypatch, None)
    with pytest.raises(DeviceError, match=r"wants CUDA 13\.0 .*no NVIDIA driver.*install the driver"):
        open_engine(checkpoint, engine, "cuda")
    _machine(monkeypatch, 0)
    with pytest.raises(DeviceError, match="finds no card"):
        open_engine(checkpoint, "onnx", "cuda")


@pytest.mark.parametrize("device", ["cuda:9", "tensorrt:2"])
def test_a_card_of_a_number_that_is_not_there(checkpoint: Checkpoint, monkeypatch, device):
    _machine(monkeypatch, 2)
    with pytest.raises(DeviceError, match=f"{device} is not there: this machine has cuda:0 to cuda:1"):
        open_engine(checkpoint, "onnx", device)


@pytest.mark.parametrize(
    ("cuda", "lacking", "words"),
    [
        ("13.0", ["libcudnn.so.9"], r"wants CUDA 13\.0.*no libcudnn\.so\.9.*onnxruntime-gpu\[cuda,cudnn\]"),
        ("12.4", [], r"driver that runs CUDA up to 12\.4; update the driver, or .*onnxruntime-gpu<"),
    ],
)
@pytest.mark.parametrize("device", ["cuda:0", "tensorrt"])
def test_cuda_that_the_runtime_cannot_load(checkpoint: Checkpoint, monkeypatch, cuda, lacking, words, device):
    _machine(monkeypatch, 1, cuda)
    _only_cpu(monkeypatch)
    monkeypatch.setattr(runtime, "missing_libraries", lambda major, tensorrt: lacking)
    with pytest.raises(DeviceError, match=words):
        open_engine(checkpoint, "onnx", device)


def test_auto_falls_back_to_the_cpu_with_one_line(checkpoint: Checkpoint, monkeypatch):
    _machine(monkeypatch, 1)
    _only_cpu(monkeypatch)
    said: list[str] = []
    assert open_engine(checkpoint, "onnx", "auto", say=said.append).device == "cpu"
    assert len(said) == 1
    assert said[0].startswith("note: runs on the CPU: ")
    _machine(monkeypatch, None)
    assert open_engine(checkpoint, "onnx", "auto", say=said.append).device == "cpu"
    assert len(said) == 1  # a machine without a driver has nothing to be told


def test_the_driver_and_the_libraries_of_this_machine():
    found = driver()
    assert found is None or found.cards >= 0
    assert all(name.startswith("lib") for name in missing_libraries(13, tensorrt=True))
    assert runtime.why_not("cuda").startswith("device cuda is not there: ")


def test_the_renderer_computes_what_torch_computes(checkpoint: Checkpoint):
    rng = np.random.default_rng(0)
    photo, look = _pictures(2, 64, 48), rng.integers(0, 6, (2, 6))
    source, target = (rng.random((2, 7, *size), np.float32) for size in ((64, 48), (32, 80)))
    painted = [open_engine(checkpoint, name, "cpu") for name in ("onnx", "torch")]
    onnx, torch = (each.render(photo, source, target, look) for each in painted)
    assert onnx is not None
    assert onnx.shape == (2, 32, 80, 3)
    assert 0 <= onnx.min() <= onnx.max() <= 1
    assert onnx.std() > 0.01
    np.testing.assert_allclose(onnx, torch, atol=1e-3)
    with pytest.raises(ValueError, match="parts that are not"):
        painted[0].render(photo, source, target, look + 6)
    with pytest.raises(ValueError, match="over the photo"):
        painted[0].render(photo, target, source, look)


def test_buffers_are_kept_for_batches_of_one_shape_and_do_not_mix(checkpoint: Checkpoint):
    engine = open_engine(checkpoint, "onnx", "cpu")
    first, second, wide = _pictures(2, 32, 64), 255 - _pictures(2, 32, 64), _pictures(1, 64, 32)
    expected = [open_engine(checkpoint, "onnx", "cpu").run(each) for each in (first, second, wide)]
    found = [engine.run(each) for each in (first, second, wide, first, second)]
    for one, other in zip(found, [*expected, *expected[:2]], strict=True):
        np.testing.assert_array_equal(one, other)


def test_threads_take_turns(checkpoint: Checkpoint):
    engine = open_engine(checkpoint, "onnx", "cpu", threads=1)
    batches = [np.full((1, 32, 32, 3), value, np.uint8) for value in range(0, 250, 10)]
    expected = [engine.run(each) for each in batches]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(engine.run, batches), expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "cuda:x", ""])
def test_unknown_devices(checkpoint: Checkpoint, device):
    with pytest.raises(UsageError, match="device"):
        open_engine(checkpoint, "onnx", device)


def test_threads(checkpoint: Checkpoint, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")
    assert net_threads() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= net_threads() <= (os.cpu_count() or 1)
    assert net_threads(5) == 5
    assert open_engine(checkpoint, "onnx", "cpu", threads=1).run(_pictures(1, 32, 32)).shape[1] == 7
    for threads in (0, 10_000):
        with pytest.raises(UsageError, match="threads"):
            open_engine(checkpoint, "onnx", "cpu", threads=threads)


def _without_torch(*words: object) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, which fails if it imports torch, or onnx."""
    program = (
        "import sys\n"
        "from partswap.cli.app import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as ended:\n    assert not ended.code, ended.code\n"
        "loaded = {'torch', 'onnx', 'timm', 'scipy'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return done


def test_segment_does_not_import_torch(checkpoint: Checkpoint, photo: Path, tmp_path: Path):
    words = [photo, "--model", checkpoint.path, "--out", tmp_path / "out", "--json", "--threads", "1"]
    done = _without_torch("segment", *words, "--quiet")
    assert done.stderr == ""
    record = json.loads(done.stdout)
    assert (record["engine"], record["providers"]) == ("onnx", "CPUExecutionProvider")
    assert (tmp_path / "out" / "photo.parts.png").is_file()


def test_transfer_does_not_import_torch(photo: Path, tmp_path: Path):
    words = ["--parts", "all", "--threads", "1", "--json", "--out", tmp_path / "out.png"]
    done = _without_torch("transfer", photo, photo, *words)  # the embedded model brings its graphs
    assert json.loads(done.stdout)["engine"] == "onnx"


def test_transfer_renders_without_torch(checkpoint: Checkpoint):
    """Drawn people, the source with a trace of a leg, so that the renderer paints it."""
    photo, maps = _pictures(1, 32, 32), np.full((1, 7, 32, 32), 1 / 7, np.float32)
    engine = open_engine(checkpoint, "onnx", "cpu")
    assert engine.render(photo, maps, maps, np.arange(6)[None]) is not None  # its graph is made
    program = (
        "import sys, partswap\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "import drawn_people\n"
        "from partswap.transfer import Options, Pair\n"
        "source, target = drawn_people.draw(seed=1, left_out='leg'), drawn_people.draw(seed=2)\n"
        "source.part_map[5] += 0.02 * source.part_map[4]\n"
        "pair = Pair(source, target, partswap.load(sys.argv[1]).engine)\n"
        "record = pair.transfer('leg', None, Options()).record\n"
        "assert record['parts'][0]['rendered'] == 1, record\n"
        "loaded = {'torch', 'onnx', 'timm', 'scipy'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, checkpoint.path, Path(__file__).parents[1] / "transfer"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stderr) == (0, "")

"""`partswap doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime

from partswap import diagnosis
from partswap.engine import cuda, runtime


def test_a_usable_installation(cli, tiny_checkpoint: Path):
    outcome = cli("doctor", "--model", tiny_checkpoint, "--device", "cpu")
    assert outcome.code == 0, outcome.out
    for word in (
        "torch",
        "cpu",
        "onnx providers",
        "nvidia driver",
        "graph cache",
        "tiny",
        "partswap is usable",
    ):
        assert word in outcome.out
    report = json.loads(cli("doctor", "--model", tiny_checkpoint, "--json").out)
    assert report["usable"] is True
    assert report["model"]["works"] is True
    assert report["versions"]["torch"]
    assert report["model"]["engine"] == "onnx"
    assert Path(report["model"]["graph"]).is_file()


def test_a_missing_model_is_exit_3(cli):
    outcome = cli("doctor", "--model", "nowhere", "--json")
    assert outcome.code == 3
    report = json.loads(outcome.out)
    assert report["usable"] is False
    assert "nowhere" in report["problems"][0]


def test_a_device_that_is_not_there(cli, tiny_checkpoint: Path):
    outcome = cli("doctor", "--model", tiny_checkpoint, "--device", "cuda:99")
    assert outcome.code == 1
    assert "cuda" in outcome.out


def test_what_cuda_lacks_is_told_where_there_is_a_card(cli, tiny_checkpoint: Path, monkeypatch):
    for module in (cuda, runtime):
        monkeypatch.setattr(module, "driver", lambda: cuda.Driver(1, "13.0"))
        monkeypatch.setattr(module, "missing_libraries", lambda major, tensorrt=False: ["libcudnn.so.9"])
    monkeypatch.setattr(runtime, "installed", lambda package: package == "onnxruntime-gpu")
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0", raising=False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*runtime.PROVIDERS.values()])
    report = json.loads(cli("doctor", "--model", tiny_checkpoint, "--device", "cpu", "--json").out)
    assert report["onnx"]["nvidia driver"] == "cards: 1, CUDA up to 13.0"
    assert "libcudnn.so.9" in report["onnx"]["cuda"]
    assert any("no libcudnn.so.9" in note and "pip install" in note for note in report["notes"])


def test_packages_that_fight_are_told_with_the_mend(cli, tiny_checkpoint: Path, monkeypatch):
    monkeypatch.setattr(diagnosis, "_version", lambda package: "1.0")
    outcome = cli("doctor", "--model", tiny_checkpoint, "--device", "cpu")
    assert outcome.code == 0
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in outcome.out
    assert "opencv-python-headless" in outcome.out

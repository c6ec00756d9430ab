"""`partswap doctor`."""

from __future__ import annotations

import json
from pathlib import Path

from partswap import diagnosis


def test_a_usable_installation(cli, tiny_checkpoint: Path):
    outcome = cli("doctor", "--model", tiny_checkpoint, "--device", "cpu")
    assert outcome.code == 0, outcome.out
    for word in ("torch", "cpu", "onnx providers", "tiny", "partswap is usable"):
        assert word in outcome.out
    report = json.loads(cli("doctor", "--model", tiny_checkpoint, "--json").out)
    assert report["usable"] is True
    assert report["model"]["works"] is True
    assert report["versions"]["torch"]


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


def test_packages_that_fight_are_told_with_the_mend(cli, tiny_checkpoint: Path, monkeypatch):
    monkeypatch.setattr(diagnosis, "_version", lambda package: "1.0")
    outcome = cli("doctor", "--model", tiny_checkpoint, "--device", "cpu")
    assert outcome.code == 0
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in outcome.out
    assert "opencv-python-headless" in outcome.out

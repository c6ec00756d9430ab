"""Checkpoints on disk: written whole, read with suspicion."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from partswap.checkpoint import Config, read_checkpoint, write_checkpoint, write_parts
from partswap.checkpoint.config import HangingLimb
from partswap.errors import ModelError, UsageError
from partswap.parts import Parts

STUDENT = {"backbone": "tf_efficientnet_lite0", "parts": 3, "width": 16}
CONFIG = Config("things", 3, STUDENT)
TENSORS = {
    "student.a": torch.linspace(-3, 3, 12).reshape(3, 4),
    "student.var": torch.tensor([1e5, 1e-7]),
    "student.count": torch.tensor(7),
    "renderer.b": torch.ones(2, 2),
}


def write(path: Path, **changes):
    given = {"config": CONFIG, "parts": Parts.default(3), "tensors": TENSORS, "card": "# things\n", **changes}
    return write_checkpoint(path, **given)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "things")
    return tmp_path / "things"


def test_round_trip(folder: Path):
    read = read_checkpoint(folder)
    assert read.config == CONFIG
    assert read.parts == Parts.default(3)
    assert len(read.revision) == 12
    student = read.tensors("student.")
    assert set(student) == {"a", "var", "count"}
    assert student["a"].dtype == torch.float32
    assert torch.equal(student["a"], TENSORS["student.a"].half().float())
    assert torch.equal(student["var"], TENSORS["student.var"])  # 1e5 is beyond float16
    assert student["count"] == 7
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "parts.json",
    ]
    assert load_file(folder / "model.safetensors")["student.a"].dtype == torch.float16


def test_revision_follows_the_weights_only(folder: Path, tmp_path: Path):
    same = write(tmp_path / "same", config=Config("other", 3, STUDENT))
    other = write(tmp_path / "other", tensors={**TENSORS, "renderer.b": torch.zeros(2, 2)})
    assert same.revision == read_checkpoint(folder).revision != other.revision


def test_existing_folders(folder: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="--overwrite"):
        write(folder)
    write(folder, card="# newer\n", overwrite=True)
    assert (folder / "README.md").read_text() == "# newer\n"
    (folder / "holiday.jpg").write_text("mine")
    with pytest.raises(UsageError, match=r"holiday\.jpg"):
        write(folder, overwrite=True)
    with pytest.raises(UsageError, match="is a file"):
        write(folder / "README.md", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["things"]


@pytest.mark.parametrize("when", ["rename", "fsync"])
def test_a_failure_leaves_the_old_checkpoint_whole(folder: Path, monkeypatch, when):
    before = read_checkpoint(folder).revision
    real, calls = getattr(os, when), []

    def fail(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(os, when, fail)
    with pytest.raises(KeyboardInterrupt):
        write(folder, tensors={"student.a": torch.zeros(1)}, overwrite=True)
    monkeypatch.undo()
    assert read_checkpoint(folder).revision == before
    assert [p.name for p in folder.parent.iterdir()] == ["things"]


def test_what_a_killed_run_left_is_cleared(folder: Path):
    (folder.parent / ".things.new-abc").mkdir()
    write(folder, overwrite=True)
    assert [p.name for p in folder.parent.iterdir()] == ["things"]


def test_nan_is_neither_written_nor_read(folder: Path, tmp_path: Path):
    bad = {"student.a": torch.tensor([[float("nan")]]), "student.b": torch.full((1, 1), 1e6)}
    with pytest.raises(ModelError, match=r"student\.a, student\.b"):
        write(tmp_path / "nan", tensors=bad)
    assert not (tmp_path / "nan").exists()
    save_file({"student.a": bad["student.a"]}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"NaN.* a"):
        read_checkpoint(folder).tensors("student.")


def test_renaming_parts(folder: Path):
    write_parts(folder, Parts.default(3).renamed({2: "wheel"}))
    assert read_checkpoint(folder).parts.names == ["part1", "wheel", "part3"]
    with pytest.raises(ModelError, match="3 parts"):
        write_parts(folder, Parts.default(4))


@pytest.mark.parametrize("name", ["model.pt", "pytorch_model.bin", "model.ckpt"])
def test_pickles_are_refused_with_the_reason(folder: Path, name):
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(ModelError, match="pickled weights can run code"):
        read_checkpoint(folder)


def _header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _overlapping() -> bytes:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return _header(json.dumps({"student.a": entry, "student.b": entry}).encode()) + bytes(8)


WEIGHTS = {
    "empty": b"",
    "short": b"\x01\x00",
    "text": b"hello, these are no weights",
    "pickle": pickle.dumps({"a": [1, 2]}),
    "zip": b"PK\x03\x04" + bytes(100),
    "huge header": struct.pack("<Q", 1 << 40) + b"{}",
    "header to the end": struct.pack("<Q", 100) + b"{}",
    "header not json": _header(b"{nonsense"),
    "overlapping tensors": _overlapping(),
    "10 GB claim": _header(
        b'{"student.a":{"dtype":"F32","shape":[50000,50000],"data_offsets":[0,10000000000]}}'
    ),
    "big header": _header(b"{" + b" " * (5 << 20) + b"}"),
}


@pytest.mark.parametrize("raw", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_damaged_weights(folder: Path, raw):
    (folder / "model.safetensors").write_bytes(raw)
    with pytest.raises(ModelError):
        read_checkpoint(folder).tensors("student.")


def test_truncated_weights(folder: Path):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelError, match="damaged"):
        read_checkpoint(folder).tensors()


JSON = {
    "empty": "",
    "list": "[]",
    "nan": '{"format": 1, "parts": NaN}',
    "deep": "[" * 100_000,
    "long": " " * (2 << 20),
    "not utf-8": b"\xff\xfe",
}


@pytest.mark.parametrize("file", ["config.json", "parts.json"])
@pytest.mark.parametrize("text", JSON.values(), ids=JSON.keys())
def test_damaged_json(folder: Path, file, text):
    (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ModelError):
        read_checkpoint(folder)


def test_what_is_looked_at_from_near_is_remembered_and_may_be_missing(tmp_path: Path, folder: Path):
    write(tmp_path / "closer", config=replace(CONFIG, closer=((3, 1), (2,))))
    assert read_checkpoint(tmp_path / "closer").config.closer == ((3, 1), (2,))
    assert "closer" not in json.loads((folder / "config.json").read_text())
    assert read_checkpoint(folder).config.closer == ()


def test_limbs_are_remembered_and_may_be_missing(tmp_path: Path, folder: Path):
    limbs = (HangingLimb((1, 3), (2,)), HangingLimb((1,), before=(2,), bare=(3,), once=((2, 3),)))
    write(tmp_path / "limbs", config=replace(CONFIG, limbs=limbs))
    assert read_checkpoint(tmp_path / "limbs").config.limbs == limbs
    assert "limbs" not in json.loads((folder / "config.json").read_text())
    assert read_checkpoint(folder).config.limbs == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("format", None),
        ("format", True),
        ("name", "../evil"),
        ("name", ""),
        ("parts", 0),
        ("parts", 255),
        ("parts", 3.0),
        ("size", [256]),
        ("size", [256, 1e9]),
        ("size", 256),
        ("input_long_side", 10**9),
        ("input_long_side", 16),
        ("multiple", 0),
        ("mean", [0, 0]),
        ("std", [1, 1, 0]),
        ("student", None),
        ("student", {**STUDENT, "parts": 4}),
        ("student", {**STUDENT, "width": 10**9}),
        ("student", {**STUDENT, "backbone": "hf-hub:someone/evil"}),
        ("student", {**STUDENT, "backbone": "../../evil"}),
        ("student", {**STUDENT, "levels": [10**9]}),
        ("student", {**STUDENT, "extra": {"nested": 1}}),
        ("renderer", []),
        ("closer", {}),
        ("closer", None),
        ("closer", [1]),
        ("closer", [[]]),
        ("closer", [[0]]),
        ("closer", [[99]]),
        ("closer", [[[1]]]),
        ("closer", [[1, 2], [2]]),
        ("closer", [[1, 1]]),
        ("limbs", {}),
        ("limbs", None),
        ("limbs", [[1], [2]]),
        ("limbs", [{"parts": [1]}]),
        ("limbs", [{"parts": [1], "never": []}]),
        ("limbs", [{"parts": [1], "never": [1]}]),
        ("limbs", [{"parts": [1], "never": [4]}]),
        ("limbs", [{"parts": [0], "never": [2]}]),
        ("limbs", [{"parts": [[1]], "never": [2]}]),
        ("limbs", [{"parts": [1, 1], "never": [2]}]),
        ("limbs", [{"parts": [1], "never": [2]}] * 17),
        ("limbs", [{"parts": [1], "before": [2]}]),
        ("limbs", [{"parts": [1], "never": [2], "bare": [3]}]),
        ("limbs", [{"parts": [1], "before": [2], "bare": [2]}]),
        ("limbs", [{"parts": [1], "before": [1], "bare": [2]}]),
        ("limbs", [{"parts": [1], "before": [2], "bare": 3}]),
        ("limbs", [{"parts": [1], "never": [2], "once": [3]}]),
        ("limbs", [{"parts": [1], "never": [2], "once": [[]]}]),
        ("limbs", [{"parts": [1], "never": [2], "once": [[1]]}]),
        ("limbs", [{"parts": [1], "never": [2], "once": [[2], [2]]}]),
        ("limbs", [{"parts": [1], "never": [2], "once": [[99]]}]),
        ("training", []),
    ],
)
def test_bad_configurations(folder: Path, key, value):
    data = json.loads((folder / "config.json").read_text())
    data[key] = value
    (folder / "config.json").write_text(json.dumps(data))
    with pytest.raises(ModelError, match=r"config\.json"):
        read_checkpoint(folder)


def test_a_missing_field_and_a_missing_file_are_named(folder: Path):
    data = json.loads((folder / "config.json").read_text())
    del data["std"]
    (folder / "config.json").write_text(json.dumps(data))
    with pytest.raises(ModelError, match="lacks std"):
        read_checkpoint(folder)
    (folder / "parts.json").unlink()
    with pytest.raises(ModelError, match=r"lacks parts\.json"):
        read_checkpoint(folder)


def test_parts_and_configuration_must_agree(folder: Path):
    (folder / "parts.json").write_text(json.dumps(Parts.default(4).to_json()))
    with pytest.raises(ModelError, match="3 parts"):
        read_checkpoint(folder)
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match="no checkpoint folder"):
        read_checkpoint(folder)

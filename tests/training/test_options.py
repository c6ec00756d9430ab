"""Options and pretrained weights: what cannot work is refused before any work is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from partswap.errors import DeviceError, ModelError, UsageError
from partswap.nets.encoder import Encoder
from partswap.training.options import TrainOptions, parse_size, training_device
from partswap.training.pretrained import load_into, pretrained_weights

SMALL = "mobilenetv3_small_050"


def options(**more: Any) -> TrainOptions:
    return TrainOptions(data=Path("photos"), out=Path("run"), **more)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"parts": 1}, "--parts"),
        ({"parts": 65}, "--parts"),
        ({"size": (48, 64)}, "--size"),
        ({"size": (32, 64)}, "--size"),
        ({"size": (2048, 64)}, "--size"),
        ({"steps": 0}, "--steps"),
        ({"distill_steps": 0}, "--distill-steps"),
        ({"rounds": 0}, "--rounds"),
        ({"batch": 3}, "--batch"),
        ({"minutes": 0.0}, "--minutes"),
        ({"minutes": float("nan")}, "--minutes"),
        ({"rate": -1.0}, "--rate"),
        ({"rate": float("inf")}, "--rate"),
        ({"save_seconds": 0.0}, "--save-every"),
        ({"precision": "fp8"}, "--precision"),
        ({"seed": 2**63}, "--seed"),
        ({"regroup": True, "near": "near.safetensors:1=head"}, "--near"),
        ({"row": "most"}, "row 'most'"),
        ({"without": ("gmfr",)}, "'gmfr'"),
        ({"pairs": Path("p.csv"), "group_by_folder": True}, "--group-by"),
    ],
)
def test_values_that_cannot_work_are_named(more: dict[str, Any], said: str) -> None:
    options().check()
    with pytest.raises(UsageError, match=said):
        options(**more).check()


def test_sizes_are_rounded_up_to_multiples_of_32() -> None:
    assert parse_size("256x192") == (256, 192)
    assert parse_size("250X176") == (256, 192)
    for bad in ("256", "x", "256x", "-1x64", "1.5x64", "axb"):
        with pytest.raises(UsageError, match="--size"):
            parse_size(bad)


def test_how_often_the_state_is_saved_is_no_part_of_what_a_resumed_run_repeats() -> None:
    assert (
        options().fingerprint() == options(save_seconds=1.0, workers=9, resume=True, quiet=True).fingerprint()
    )
    for more in ({"parts": 8}, {"seed": 1}, {"size": (64, 64)}, {"without": ("gmrf",)}, {"masks": Path("m")}):
        assert options().fingerprint() != options(**more).fingerprint()


def test_devices() -> None:
    assert training_device("cpu") == "cpu"
    assert training_device("auto") in ("cpu", "cuda")
    with pytest.raises(DeviceError, match="tpu"):
        training_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no GPU"):
            training_device("cuda:1")


def test_weights_from_a_file_fill_the_encoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    donor, encoder = Encoder(SMALL), Encoder(SMALL)
    weights = {**donor.body.state_dict(), "classifier.weight": torch.zeros(3, 3)}  # has no use here
    save_file(weights, str(tmp_path / "w.safetensors"))
    load_into(encoder, pretrained_weights(str(tmp_path / "w.safetensors"), SMALL))
    for (name, a), b in zip(donor.state_dict().items(), encoder.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_no_weights_leave_an_encoder_as_it_is() -> None:
    encoder = Encoder(SMALL)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    load_into(encoder, pretrained_weights("none", SMALL))
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())


def test_weights_of_another_encoder_are_refused_and_nothing_is_loaded(tmp_path: Path) -> None:
    encoder = Encoder(SMALL)
    whole = dict(encoder.body.state_dict())
    name = next(k for k, v in whole.items() if v.ndim == 4)
    for wrong in (
        {k: v for k, v in whole.items() if k != name},
        {**whole, name: torch.zeros(1, 2, 3, 4)},
        {"other": torch.zeros(1)},
    ):
        with pytest.raises(ModelError, match=r"--pretrained.*--backbone"):
            load_into(encoder, wrong)


@pytest.mark.parametrize("name", ["weights.pt", "weights.bin", "weights.pth"])
def test_pickled_weights_are_refused_without_being_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(ModelError, match="pickled weights are refused"):
        pretrained_weights(str(tmp_path / name), SMALL)


def test_a_damaged_or_missing_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 100)
    for name in ("w.safetensors", "nowhere.safetensors"):
        with pytest.raises(ModelError, match="cannot be read"):
            pretrained_weights(str(tmp_path / name), SMALL)

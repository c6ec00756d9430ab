"""`partswap train` from the outside: words, exit codes, sentences. What a run learns is tested in
tests/training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import partswap

FAST = ["--size", "64x64", "--parts", 3, "--batch", 4, "--steps", 2, "--distill-steps", 2, "--rounds", 1]
NETS = ["--backbone", "mobilenetv3_small_050", "--pretrained", "none", "--device", "cpu", "--workers", 1]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "things"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(9):
        picture = rng.integers(90, 130, (48, 48, 3), dtype=np.uint8)
        picture[14:34, 16:32] = rng.integers(0, 256, 3)
        Image.fromarray(picture).save(folder / f"{i}.png")
    return folder


def test_a_folder_of_photos_becomes_a_model_that_segments(cli: Any, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no photo")
    done = cli("train", photos, "--out", tmp_path / "run", *FAST, *NETS)  # no masks: they are estimated
    assert done.code == 0, done.err
    assert done.out.strip() == str(tmp_path / "run" / "model")
    assert "skipped broken.jpg" in done.err
    assert "9 photos" in done.err
    found = partswap.load(tmp_path / "run" / "model", device="cpu", engine="torch").segment(photos / "0.png")
    assert found.labels.shape == (48, 48)
    assert len(found.parts) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--parts", 1], "--parts"),
        (["--size", "big"], "--size"),
        (["--batch", 2], "--batch"),
        (["--distill-steps", 0], "--distill-steps"),
        (["--terms", "most"], "there is no ablation row 'most'"),
        (["--without", "gmrf,gmfr"], "there is no term 'gmfr'"),
        (["--precision", "fp8"], "--precision"),
        (["--save-every", 0], "--save-every"),
        (["--minutes", -1], "--minutes"),
        (["--backbone", "no_such_net"], "no_such_net"),
        (["--device", "tpu"], "tpu"),
        (["--masks", "nowhere"], "nowhere"),
        (["--pairs", "nowhere.csv"], "nowhere.csv"),
        (["--group-by", "colour"], "colour"),
    ],
)
def test_wrong_words_are_one_sentence_and_exit_2(
    cli: Any, photos: Path, tmp_path: Path, words: list[object], said: str
) -> None:
    done = cli("train", photos, "--out", tmp_path / "run", *FAST, *NETS, *words)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "run" / "model").exists()


def test_too_few_photos_exit_2_and_name_the_first_that_could_not_be_used(
    cli: Any, photos: Path, tmp_path: Path
) -> None:
    for i in range(3):
        (photos / f"{i}.png").write_bytes(b"no photo")
    done = cli("train", photos, "--out", tmp_path / "run", *FAST, *NETS)
    assert done.code == 2
    assert "6 readable photos" in done.err
    assert "0.png" in done.err
    assert cli("train", tmp_path / "nowhere", "--out", tmp_path / "run2", *FAST, *NETS).code == 2


def test_weights_that_do_not_fit_exit_3(cli: Any, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"pickle")
    done = cli(
        "train", photos, "--out", tmp_path / "run", *FAST, *NETS, "--pretrained", tmp_path / "weights.pt"
    )
    assert done.code == 3
    assert "refused" in done.err


def test_help_names_every_option(cli: Any) -> None:
    done = cli("train", "--help")
    assert done.code == 0
    for option in ("--masks", "--pairs", "--group-by", "--minutes", "--resume", "--without", "--save-every"):
        assert option in done.out


def test_an_out_that_is_a_file_is_one_sentence_and_exit_2(cli: Any, tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("mine")
    result = cli("train", str(tmp_path), "--out", str(file), "--pretrained", "none")
    assert result.code == 2
    assert "--out" in result.err
    assert file.read_text() == "mine"

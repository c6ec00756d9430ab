"""`partswap transfer` from the outside, with a small untrained model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two photos; the current folder is empty."""
    other = tmp_path / "photos" / "other.png"
    Image.open(photo).rotate(180).save(other)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return other, photo


def shown(cli, model, path) -> str:
    """A named part that the untrained model sees in a photo."""
    out = cli(
        "segment", path, "--model", model, "--json", "-o", "seen", "--what", "labels", "--device", "cpu"
    )
    parts = sorted(out.lines()[0]["parts"], key=lambda part: -part["pixels"])
    return str(parts[0]["id"])


def test_default_output_and_record(cli, photos, tiny_checkpoint):
    source, target = photos
    part = shown(cli, tiny_checkpoint, target)
    outcome = cli("transfer", "--parts", part, source, target, "--model", tiny_checkpoint, "--json")
    assert outcome.code == 0, outcome.err
    record = outcome.lines()[0]
    assert record["output"] == "photo.swap.png"
    assert (record["width"], record["height"]) == Image.open("photo.swap.png").size
    assert {"parts", "missing", "seconds", "model", "device", "revision", "seed"} <= set(record)


def test_source_and_target_may_be_one_file(cli, photos, tiny_checkpoint):
    _, target = photos
    outcome = cli("transfer", "-p", "all", target, target, "-m", tiny_checkpoint, "-o", "same.png")
    assert outcome.code == 0, outcome.err
    before, after = (np.asarray(Image.open(p).convert("RGB")).astype(int) for p in (target, "same.png"))
    assert np.abs(before - after).max() <= 1


def test_an_output_that_is_an_input_is_refused(cli, photos, tiny_checkpoint):
    source, target = photos
    before = target.read_bytes()
    for out in (source, target):
        outcome = cli(
            "transfer", "-p", "all", source, target, "-m", tiny_checkpoint, "-o", out, "--overwrite"
        )
        assert outcome.code == 2
        assert "one of the inputs" in outcome.err
    assert target.read_bytes() == before


def test_an_existing_output_needs_overwrite(cli, photos, tiny_checkpoint):
    source, target = photos
    Path("out.png").write_bytes(b"mine")
    words = ("transfer", "-p", "all", source, target, "-m", tiny_checkpoint, "-o", "out.png")
    assert cli(*words).code == 2
    assert Path("out.png").read_bytes() == b"mine"
    assert cli(*words, "--overwrite").code == 0
    assert Image.open("out.png").size == Image.open(target).size


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "--parts"),
        (("-p", "nose"), "there is no part called 'nose'"),
        (("-p", "chest,arm,4", "--to", "arm,4"), "name as many"),
        (("-p", "chest", "-o", "out.xyz"), "out.xyz"),
        (("-p", "chest", "--grid", "--to", "arm"), "--to"),
        (("-p", "chest", "--json", "-o", "-"), "stdout"),
    ],
)
def test_wrong_usage(cli, photos, tiny_checkpoint, words, sentence):
    outcome = cli("transfer", *photos, "-m", tiny_checkpoint, *words)
    assert outcome.code == 2
    assert sentence in outcome.err
    assert "Traceback" not in outcome.err
    assert not list(Path().iterdir())


def test_both_from_standard_input_is_refused(cli, photos, tiny_checkpoint):
    assert cli("transfer", "-p", "all", "-", "-", "-m", tiny_checkpoint).code == 2


def test_folders_give_every_pair(cli, photos, tiny_checkpoint):
    folder = photos[0].parent
    outcome = cli("transfer", "-p", "all", folder, folder, "-m", tiny_checkpoint, "-o", "out", "--json")
    assert outcome.code == 0, outcome.err
    assert len(outcome.lines()) == 4
    names = {path.name for path in Path("out").iterdir()}
    assert names == {f"{t}.{s}.swap.png" for t in ("photo", "other") for s in ("photo", "other")}


def test_one_bad_file_does_not_stop_the_others(cli, photos, tiny_checkpoint):
    source, target = photos
    (target.parent / "broken.png").write_bytes(b"not a picture")
    outcome = cli("transfer", "-p", "all", source, target.parent, "-m", tiny_checkpoint, "-o", "out")
    assert outcome.code == 1
    assert "broken.png" in outcome.err
    assert {path.name for path in Path("out").iterdir()} == {"photo.swap.png", "other.swap.png"}


def test_a_missing_file_is_one_sentence(cli, photos, tiny_checkpoint):
    outcome = cli("transfer", "-p", "all", photos[0], "nowhere.jpg", "-m", tiny_checkpoint)
    assert outcome.code == 1
    assert "nowhere.jpg" in outcome.err


def test_grid(cli, photos, tiny_checkpoint):
    outcome = cli("transfer", "--grid", *photos, "-m", tiny_checkpoint, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.lines()[0]["output"] == "photo.grid.png"
    width, height = Image.open("photo.grid.png").size
    assert width > 2 * height


def test_exif_orientation_is_applied(cli, photos, tiny_checkpoint):
    source, target = photos
    picture = Image.open(target).convert("RGB").rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 270 degrees to be upright again
    picture.save("turned.jpg", exif=exif, quality=95)
    outcome = cli("transfer", "-p", "all", source, "turned.jpg", "-m", tiny_checkpoint, "-o", "out.png")
    assert outcome.code == 0, outcome.err
    assert Image.open("out.png").size == Image.open(target).size


def test_jpeg_and_quality(cli, photos, tiny_checkpoint):
    sizes = []
    for quality in (30, 95):
        out = f"{quality}.jpg"
        assert (
            cli("transfer", "-p", "all", *photos, "-m", tiny_checkpoint, "-o", out, "--quality", quality).code
            == 0
        )
        sizes.append(Path(out).stat().st_size)
    assert sizes[0] < sizes[1]


def test_the_figure_of_a_named_step(cli, photos, tiny_checkpoint):
    outcome = cli("transfer", "--grid", "-p", "chest,arm", *photos, "-m", tiny_checkpoint, "--json")
    assert outcome.code == 0, outcome.err
    assert len(json.loads(outcome.out)["steps"]) == 2


def test_a_model_folder_that_is_broken_exits_with_three(cli, photos, tiny_checkpoint, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, broken)
    (broken / "config.json").write_text("{}")
    assert cli("transfer", "-p", "all", *photos, "-m", broken).code == 3

"""`partswap parts show`, `partswap parts name` and `partswap parts closer`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from partswap.checkpoint import read_checkpoint, resolve


@pytest.fixture
def own(tiny_checkpoint: Path, tmp_path: Path, monkeypatch) -> Path:
    """A copy of the tiny checkpoint that may be changed."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "own"))


@pytest.fixture
def labelled(own: Path, photo: Path, tmp_path: Path) -> list[str]:
    """Options for a photo whose labels are what the model itself finds: 1 top for ids 1 to 3, 2 bottom for
    the rest."""
    import partswap

    found = partswap.load(own, device="cpu").segment(photo).labels
    truth = np.array([0, 1, 1, 1, 2, 2, 2], np.uint8)[found]
    (tmp_path / "labels").mkdir()
    Image.fromarray(truth).save(tmp_path / "labels" / "photo.png")
    (tmp_path / "classes.json").write_text(
        json.dumps({"parts": ["background", "top", "bottom"], "ignore": 255})
    )
    return ["--labels", "labels", "--images", str(photo.parent), "--classes", "classes.json"]


def test_show_writes_a_sheet(cli, own: Path, photo: Path):
    outcome = cli("parts", "show", photo, "--model", own, "--out", "sheet.png", "--cell", 64)
    assert outcome.code == 0, outcome.err
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 7 * 48  # the photo and its six parts
        assert len(sheet.getcolors(1 << 24) or ()) > 50
    assert cli("parts", "show", photo, "--model", own, "--out", "sheet.png").code == 2
    assert cli("parts", "show", photo, "--model", own, "--out", "sheet.png", "--overwrite").code == 0


def test_show_goes_on_after_a_bad_photo(cli, own: Path, photo: Path):
    (photo.parent / "bad.png").write_text("no image")
    outcome = cli("parts", "show", photo.parent, "--model", own)
    assert outcome.code == 1
    assert "bad.png" in outcome.err
    assert Path("parts.png").exists()
    assert cli("parts", "show", photo.parent / "bad.png", "--model", own, "--out", "none.png").code == 2
    assert not Path("none.png").exists()


def test_names_by_hand(cli, own: Path):
    weights = (own / "model.safetensors").read_bytes()
    outcome = cli("parts", "name", "--model", own, "4=hip", "5=hip", "6=left leg")
    assert outcome.code == 0, outcome.err
    assert outcome.out == "1=chest 2=chest 3=arm 4=hip 5=hip 6=left leg\n"
    assert read_checkpoint(own).parts.names == ["chest", "arm", "hip", "left leg"]
    assert (own / "model.safetensors").read_bytes() == weights
    assert json.loads(cli("parts", "name", "--model", own, "1=head", "--json").out)["1"] == "head"


def test_what_is_looked_at_from_near_is_told_by_name(cli, own: Path, photo: Path):
    weights = (own / "model.safetensors").read_bytes()
    outcome = cli("parts", "closer", "chest,3", "--model", own)
    assert outcome.code == 0, outcome.err
    assert "chest, arm" in outcome.err
    assert read_checkpoint(own).config.closer == ((1, 2), (3,))
    assert (own / "model.safetensors").read_bytes() == weights
    assert cli("segment", photo, "--model", own, "--out", "near").code == 0
    assert cli("models", "verify", own, "--write").code == 0
    assert cli("parts", "closer", "None", "--model", own).code == 0
    assert cli("models", "verify", own).code == 0, "what the net does is as it was"
    assert read_checkpoint(own).config.closer == ()


def test_what_cannot_be_looked_at_from_near(cli, own: Path, monkeypatch):
    before = (own / "config.json").read_bytes()
    monkeypatch.setattr("partswap.checkpoint.config.MAX_CLOSER", 1)
    outcome = cli("parts", "closer", "chest,arm", "--model", own)
    assert outcome.code == 2
    assert "2 kinds of part are too many" in outcome.err
    for words in ("wing", "", "none,1"):
        assert cli("parts", "closer", words, "--model", own).code == 2
    assert (own / "config.json").read_bytes() == before
    outcome = cli("parts", "closer", "head", "--model", "people")
    assert outcome.code == 2
    assert "cp -r" in outcome.err


@pytest.mark.parametrize("words", [[], ["4"], ["hip=4"], ["9=hip"], ["4=a/b"], ["4=hip", "4=leg"], ["4="]])
def test_names_that_cannot_be_given(cli, own: Path, words):
    before = (own / "parts.json").read_text()
    assert cli("parts", "name", "--model", own, *words).code == 2
    assert (own / "parts.json").read_text() == before


def test_the_embedded_model_is_not_renamed(cli, own: Path, monkeypatch):
    monkeypatch.setattr(resolve, "embedded_models", lambda: {"people": own})
    for words in (["3=hip"], ["3=hip", "--model", "people"], ["3=hip", "--model", own]):
        outcome = cli("parts", "name", *words)
        assert outcome.code == 2
        assert "copy it first: cp -r" in outcome.err
    assert "hip" not in (own / "parts.json").read_text()


def test_proposals_from_labels(cli, own: Path, labelled: list[str]):
    before = (own / "parts.json").read_text()
    outcome = cli("parts", "name", "--model", own, *labelled, "--json")
    assert outcome.code == 0, outcome.err
    proposed = json.loads(outcome.out)
    assert set(proposed.values()) <= {"top", "bottom", "chest", "arm", "part4", "part5", "part6"}
    assert {"top", "bottom"} & set(proposed.values())
    assert all(proposed[i] != "bottom" for i in "123")
    assert all(proposed[i] != "top" for i in "456")
    assert (own / "parts.json").read_text() == before  # only proposed
    assert "IoU" in cli("parts", "name", "--model", own, *labelled).out


def test_proposals_are_taken_on_request_and_hands_win(cli, own: Path, labelled: list[str]):
    assert cli("parts", "name", "--model", own, *labelled, "--apply", "1=nose").code == 0
    names = read_checkpoint(own).parts.names
    assert names[0] == "nose"
    assert {"top", "bottom"} & set(names)


def test_labels_need_photos_and_class_names(cli, own: Path, labelled: list[str]):
    assert "--images" in cli("parts", "name", "--model", own, *labelled[:2]).err
    assert "--classes" in cli("parts", "name", "--model", own, *labelled[:4]).err

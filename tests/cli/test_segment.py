"""`partswap segment` as a user would type it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from partswap.imaging.rle import decode_rle


@pytest.fixture
def segment(cli, tiny_checkpoint: Path, tmp_path: Path, monkeypatch):
    """Run `partswap segment WORDS... --model tiny` in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return lambda *words: cli("segment", "--model", tiny_checkpoint, "--device", "cpu", *words)


def below(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_one_photo(segment, photo: Path):
    outcome = segment(photo)
    assert outcome.code == 0, outcome.err
    assert outcome.out == ""
    assert "tiny" in outcome.err
    assert "on cpu (onnx)" in outcome.err
    assert below(Path()) == ["photo.overlay.png", "photo.parts.png"]
    with Image.open("photo.parts.png") as labels:
        assert labels.mode == "P"
        assert labels.size == (90, 120)
        assert 1 < len(np.unique(np.asarray(labels))) <= 7
    with Image.open("photo.overlay.png") as overlay:
        assert (overlay.mode, overlay.size) == ("RGB", (90, 120))


def test_folders_keep_their_sub_folders(segment, photo: Path):
    (photo.parent / "a" / "b").mkdir(parents=True)
    shutil.copy(photo, photo.parent / "a" / "b" / "photo.png")
    assert segment(photo.parent, "--out", "out", "--what", "labels").code == 0
    assert below(Path("out")) == ["a/b/photo.parts.png", "photo.parts.png"]
    assert segment(photo.parent / "**" / "*.png", "--out", "glob", "--what", "labels").code == 0
    assert below(Path("glob")) == below(Path("out"))


def test_running_twice_in_place_does_not_eat_its_own_results(segment, photo: Path):
    for _ in range(2):
        assert (
            segment(
                photo.parent, "--out", photo.parent, "--overwrite", "--what", "labels,overlay,cutouts"
            ).code
            == 0
        )
    stems = {name.split(".")[0] for name in below(photo.parent)}
    assert stems == {"photo"}
    assert not any("parts.parts" in name for name in below(photo.parent))


def test_a_bad_file_is_named_and_the_rest_is_done(segment, photo: Path):
    (photo.parent / "bad.jpg").write_text("no image")
    outcome = segment(photo.parent, "missing.jpg", "--json", "--what", "labels")
    assert outcome.code == 1
    assert "bad.jpg" in outcome.err
    assert "missing.jpg" in outcome.err
    assert "Traceback" not in outcome.err
    bad, good, missing = outcome.lines()
    assert "error" in bad
    assert "error" in missing
    assert good["outputs"] == {"labels": "photo.parts.png"}
    assert below(Path()) == ["photo.parts.png"]


def test_json_agrees_with_the_label_map(segment, photo: Path):
    (record,) = segment(photo, "--json", "--quiet").lines()
    labels = np.asarray(Image.open("photo.parts.png"))
    assert (record["width"], record["height"]) == (90, 120)
    assert record["input"] == str(photo)
    for part in record["parts"]:
        assert (decode_rle(part["rle"]) == (labels == part["id"])).all()


def test_cutouts_and_probabilities_of_some_parts(segment, photo: Path):
    outcome = segment(photo, "--what", "cutouts,probabilities,labels", "--parts", "chest,4", "--json")
    written = outcome.lines()[0]["outputs"]
    labels = np.asarray(Image.open("photo.parts.png"))
    assert set(np.unique(labels)) <= {0, 1, 2, 4}
    assert set(written["cutouts"]) <= {"chest", "part4"}
    for name, path in written["cutouts"].items():
        rgba = np.asarray(Image.open(path))
        assert rgba.shape == (120, 90, 4)
        assert (rgba[..., 3] > 0).sum() == np.isin(labels, {"chest": (1, 2), "part4": (4,)}[name]).sum()
        assert not rgba[rgba[..., 3] == 0].any()
    with np.load("photo.probabilities.npz") as file:
        assert file["ids"].tolist() == [0, 1, 2, 4]
        assert file["names"].tolist() == ["background", "chest", "chest", "part4"]
        assert file["probabilities"].shape == (4, 96, 72)
        assert file["probabilities"].dtype == np.float16
        assert file["photo_size"].tolist() == [120, 90]


def test_nothing_is_overwritten_unasked(segment, photo: Path):
    Path("photo.overlay.png").write_text("mine")
    outcome = segment(photo)
    assert outcome.code == 2
    assert "--overwrite" in outcome.err
    assert Path("photo.overlay.png").read_text() == "mine"
    assert below(Path()) == ["photo.overlay.png"]
    assert segment(photo, "--overwrite").code == 0
    assert Path("photo.overlay.png").read_bytes()[1:4] == b"PNG"


def test_an_input_is_never_overwritten(segment, photo: Path):
    shutil.copy(photo, photo.parent / "photo.parts.png")
    outcome = segment(photo, photo.parent / "photo.parts.png", "--out", photo.parent, "--overwrite")
    assert outcome.code == 2
    assert "one of the inputs" in outcome.err


def test_two_inputs_never_share_a_name(segment, photo: Path):
    shutil.copy(photo, photo.with_suffix(".bmp"))
    assert segment(photo.parent, "--out", "out", "--what", "labels").code == 0
    assert below(Path("out")) == ["photo.bmp.parts.png", "photo.png.parts.png"]
    (photo.parent / "sub").mkdir()
    other = shutil.copy(photo, photo.parent / "sub" / "PHOTO.png")
    outcome = segment(photo, other, "--what", "labels")
    assert outcome.code == 0 or "each other's results" in outcome.err
    other = shutil.copy(photo, photo.parent / "sub" / "photo.png")
    outcome = segment(photo, other, "--out", "clash")
    assert outcome.code == 2
    assert "each other's results" in outcome.err
    assert not Path("clash").exists()


def test_the_same_file_twice_is_done_once(segment, photo: Path):
    outcome = segment(photo, photo.parent / ".." / "photos" / "photo.png", photo.parent, "--json", "--quiet")
    assert outcome.code == 0
    assert len(outcome.lines()) == 1


def test_standard_input_and_output(segment, photo: Path, monkeypatch):
    stdin = type("Stdin", (), {"buffer": io.BytesIO(photo.read_bytes()), "isatty": lambda self: False})()
    monkeypatch.setattr(sys, "stdin", stdin)
    (record,) = segment("-", "--json", "--quiet").lines()
    assert record["input"] == "-"
    assert below(Path()) == ["stdin.overlay.png", "stdin.parts.png"]
    assert segment(photo, "--out", "-").code == 2  # two files cannot go to one stream


@pytest.mark.parametrize(
    "words",
    [
        ["--what", "nonsense"],
        ["--what", ""],
        ["--parts", "wing"],
        ["--parts", "99"],
        ["--device", "toaster"],
        ["--device", "cuda:99"],
        ["--engine", "steam"],
        ["empty"],
        ["nothing-*.jpg"],
    ],
)
def test_wrong_usage_is_exit_2_before_any_work(segment, photo: Path, words):
    Path("empty").mkdir()
    outcome = segment(photo, *words)
    assert outcome.code == 2
    assert outcome.err.count("error: ") == 1
    assert below(Path()) == []


def test_a_model_that_cannot_be_loaded_is_exit_3(
    cli, tiny_checkpoint: Path, photo: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert cli("segment", photo, "--model", "nowhere").code == 3
    broken = Path(shutil.copytree(tiny_checkpoint, tmp_path / "broken"))
    (broken / "config.json").write_text(json.dumps({"format": 99}))
    outcome = cli("segment", photo, "--model", broken)
    assert outcome.code == 3
    assert "format 99" in outcome.err


def test_quiet_and_verbose(segment, photo: Path):
    assert segment(photo, "--quiet").err == ""
    assert str(photo) in segment(photo, "-v", "--overwrite").err


def test_memory_stays_flat(segment, photo: Path):
    """A photo's pixels, part map, label map and overlay are 15 MB; twenty of them kept would be 300."""
    for i in range(20):
        with Image.open(photo) as image:
            image.resize((900, 1200)).save(photo.parent / f"{i:02}.jpg")
    process = psutil.Process()
    used = []
    for i in range(2):
        assert segment(photo.parent, "--out", f"out{i}", "--what", "labels,overlay").code == 0
        used.append(process.memory_info().rss / 2**20)
    assert used[1] - used[0] < 100, used

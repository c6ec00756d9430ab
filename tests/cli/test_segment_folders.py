"""`partswap segment` on many photos: going on, being stopped, and errors in the middle."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WHAT = ("--what", "labels,overlay")


@pytest.fixture
def folder(photo: Path) -> Path:
    """Six photos: `0.png` to `5.png`."""
    for i in range(6):
        shutil.copy(photo, photo.parent / f"{i}.png")
    photo.unlink()
    return photo.parent


@pytest.fixture
def segment(cli, tiny_checkpoint: Path, tmp_path: Path, monkeypatch):
    """Run `partswap segment WORDS... --model tiny` in an empty folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return lambda *words: cli("segment", "--model", tiny_checkpoint, "--device", "cpu", *words)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_lines_come_in_the_order_of_the_photos(segment, folder: Path):
    (folder / "3.png").write_bytes(b"no image")
    outcome = segment(folder, "--json", "--threads", "3", *WHAT)
    assert outcome.code == 1
    assert [Path(line["input"]).name for line in outcome.lines()] == [f"{i}.png" for i in range(6)]
    assert ["error" in line for line in outcome.lines()] == [False] * 3 + [True] + [False] * 2
    assert outcome.err.count("3.png") == 1
    assert len(names(Path())) == 10


def test_many_at_once_write_what_each_alone_writes(segment, folder: Path):
    assert segment(folder, "--out", "many", *WHAT).code == 0
    for i in range(6):
        assert segment(folder / f"{i}.png", "--out", "one", *WHAT).code == 0
    assert names(Path("one")) == names(Path("many"))
    for name in names(Path("one")):
        assert Path("many", name).read_bytes() == Path("one", name).read_bytes()


def test_earlier_results_are_no_photos_whatever_is_asked_for_now(segment, folder: Path, tmp_path: Path):
    assert segment(folder, "--out", folder, "--what", "labels,overlay,cutouts").code == 0
    before = names(folder)
    outcome = segment(folder, "--out", folder, "--what", "probabilities", "--parts", "1")
    assert outcome.code == 0, outcome.err
    made = set(names(folder)) - set(before)
    assert made
    assert all(name.endswith(".probabilities.npz") and name.count(".") == 2 for name in made)


def test_skip_existing_writes_what_is_not_there(segment, folder: Path):
    assert segment(folder, *WHAT).code == 0
    before = Path("0.overlay.png").stat().st_mtime_ns
    Path("1.overlay.png").write_text("mine")
    Path("1.parts.png").unlink()  # half a result: only the missing file is written
    Path("2.parts.png").unlink()
    Path("2.overlay.png").unlink()
    outcome = segment(folder, "--skip-existing", "--json", *WHAT)
    assert outcome.code == 0
    assert [line.get("skipped", False) for line in outcome.lines()] == [True, False, False] + [True] * 3
    assert "4 were there already" in outcome.err
    assert outcome.lines()[1]["outputs"] == {"labels": "1.parts.png"}
    assert Path("1.overlay.png").read_text() == "mine"
    assert Path("0.overlay.png").stat().st_mtime_ns == before
    assert len(names(Path())) == 12


def test_skip_existing_knows_which_cutouts_there_can_be(segment, folder: Path):
    """A photo's parts are read from its label map; without it a missing cutout has to be looked for again."""
    what = ("--what", "labels,cutouts")
    assert segment(folder, *what).code == 0
    labels = np.zeros((120, 90), np.uint8)
    for file in Path().glob("0.*"):
        if file.name != "0.parts.png":
            file.unlink()
    Image.fromarray(labels).save("0.parts.png")  # as if the photo showed no part
    next(Path().glob("1.*.png")).unlink()
    lines = segment(folder, "--skip-existing", "--json", *what).lines()
    assert [line.get("skipped", False) for line in lines] == [True, False] + [True] * 4


def test_skip_existing_never_writes_over_an_input(segment, folder: Path):
    shutil.copy(folder / "0.png", folder / "0.parts.png")
    outcome = segment(folder / "0.png", folder / "0.parts.png", "--out", folder, "--skip-existing")
    assert outcome.code == 2
    assert "one of the inputs" in outcome.err


def test_skip_existing_and_overwrite_are_wrong_usage(segment, folder: Path):
    outcome = segment(folder, "--skip-existing", "--overwrite")
    assert outcome.code == 2
    assert "--skip-existing" in outcome.err
    assert names(Path()) == []


def test_a_disk_that_is_full_is_one_sentence(segment, folder: Path, monkeypatch):
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    outcome = segment(folder, *WHAT)
    assert outcome.code == 1
    assert outcome.err.count("error: ") == 1
    assert "disk is full" in outcome.err
    assert names(Path()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals between processes")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_whole_files_and_says_how_many(
    folder: Path, tiny_checkpoint: Path, tmp_path: Path, number: int, code: int
):
    with Image.open(folder / "0.png") as image:
        image.resize((600, 800)).save(folder / "0.png")
    for i in range(1, 200):
        shutil.copy(folder / "0.png", folder / f"{i}.png")
    out = tmp_path / "out"
    words = [sys.executable, "-m", "partswap", "segment", str(folder), "--out", str(out), *WHAT]
    words += ["--model", str(tiny_checkpoint), "--device", "cpu"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(out.glob("*.overlay.png")):
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Traceback" not in said
    files = [path for path in out.iterdir() if path.is_file()]
    for path in files:
        assert not path.name.startswith(".")
        with Image.open(path) as image:
            image.load()
    done = sum(1 for path in files if path.name.endswith(".overlay.png"))
    assert f"interrupted: {done} of 200 photos are done" in said
    assert 0 < done < 200
    assert len(files) == 2 * done


@pytest.mark.skipif(os.name == "nt", reason="no head on Windows")
def test_a_reader_that_leaves_early_is_no_traceback(folder: Path, tiny_checkpoint: Path):
    for words in (
        ["--what", "overlay", "--out", "-"],
        ["--what", "labels", "--json", "--out", str(folder / "out")],
    ):
        command = [sys.executable, "-m", "partswap", "segment", str(folder / "0.png"), *words]
        command += ["--model", str(tiny_checkpoint), "--device", "cpu"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read().decode()
        process.wait(60)
        assert "Traceback" not in said
        assert "Exception" not in said


def test_a_pipe_in_and_a_pipe_out(folder: Path, tiny_checkpoint: Path, tmp_path: Path):
    command = [sys.executable, "-m", "partswap", "segment", "-", "--what", "overlay", "--out", "-"]
    command += ["--model", str(tiny_checkpoint), "--device", "cpu"]
    done = subprocess.run(command, input=(folder / "0.png").read_bytes(), capture_output=True, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(b"\x89PNG")
    assert done.stdout.endswith(b"IEND\xaeB`\x82")
    assert not list(tmp_path.glob("*.png"))

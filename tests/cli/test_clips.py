"""`partswap segment` and `transfer` on clips."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from partswap.video import open_clip, write_clip


@pytest.fixture
def clip(photo: Path, tmp_path: Path, monkeypatch) -> Path:
    """Eight frames of 90 x 120 in which the drawn picture moves; the current folder is empty."""
    picture = np.asarray(Image.open(photo).resize((120, 150)))
    path = photo.with_name("clip.mp4")
    with write_clip(path, 10, overwrite=False) as writer:
        for step in range(8):
            writer.write(picture[step : step + 120, 2 * step : 2 * step + 90])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return path


@pytest.fixture
def segment(cli, tiny_checkpoint: Path):
    return lambda *words: cli("segment", "--model", tiny_checkpoint, "--device", "cpu", *words)


def test_labels_and_overlay_of_a_clip(segment, clip: Path):
    outcome = segment(clip, "--json")
    assert outcome.code == 0, outcome.err
    (record,) = outcome.lines()
    assert {key: record[key] for key in ("frames", "fps", "width", "height")} == {
        "frames": 8, "fps": 10, "width": 90, "height": 120,
    }  # fmt: skip
    assert record["outputs"] == {"labels": "clip.parts.mkv", "overlay": "clip.overlay.mp4"}
    frames = [frame.rgb for frame in open_clip(Path("clip.parts.mkv")).frames()]
    assert len(frames) == 8
    pixels = np.stack(frames)[..., 0]
    for part in record["parts"]:
        assert part["share"] == pytest.approx((pixels == part["id"]).mean(), abs=1e-5)
    assert sum(part["share"] > 0 for part in record["parts"]) > 1
    overlay = [frame.rgb for frame in open_clip(Path("clip.overlay.mp4")).frames()]
    assert [frame.shape for frame in overlay] == [(120, 90, 3)] * 8
    assert "sound is not kept" in outcome.err


def test_some_parts_and_photos_beside_clips(segment, clip: Path, photo: Path):
    (photo.parent / "bad.mov").write_text("no clip")
    outcome = segment(
        photo, clip, photo.parent / "bad.mov", "missing.mp4", "--parts", "arm", "--what", "labels", "--json"
    )
    assert outcome.code == 1
    first, second, bad, missing = outcome.lines()
    assert first["outputs"] == {"labels": "photo.parts.png"}
    assert [part["name"] for part in second["parts"]] == ["arm"]
    (frame, *_) = open_clip(Path("clip.parts.mkv")).frames()
    assert set(np.unique(frame.rgb)) <= {0, 3}
    assert "bad.mov" in bad["error"]
    assert "missing.mp4" in missing["error"]
    assert outcome.err.count("error: ") == 2
    again = segment(clip, "--what", "labels", "--skip-existing", "--json")
    assert again.lines() == [{"input": str(clip), "skipped": True}]
    assert segment(clip, "--what", "labels").code == 2  # it is there


@pytest.mark.parametrize("what", ["cutouts", "labels,probabilities"])
def test_what_a_clip_has_not(segment, clip: Path, what: str):
    outcome = segment(clip, "--what", what)
    assert outcome.code == 2
    assert "labels and overlay" in outcome.err
    assert list(Path().iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals between processes")
def test_ctrl_c_leaves_nothing_of_a_clip(clip: Path, tiny_checkpoint: Path, tmp_path: Path):
    long = clip.with_name("long.mp4")
    (first, *_) = open_clip(clip).frames()
    with write_clip(long, 10, overwrite=False) as writer:
        for _ in range(3000):
            writer.write(first.rgb)
    out = tmp_path / "out"
    words = [sys.executable, "-m", "partswap", "segment", str(long), "--out", str(out)]
    words += ["--model", str(tiny_checkpoint), "--device", "cpu"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not out.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted: 0 of 1" in said
    assert "Traceback" not in said
    assert not out.exists()


def test_transfer_to_a_clip(cli, clip: Path, photo: Path, tiny_checkpoint: Path):
    model = ("--model", tiny_checkpoint, "--device", "cpu")
    outcome = cli("transfer", photo, clip, "--parts", "all", "--json", *model)
    assert outcome.code == 0, outcome.err
    (record,) = outcome.lines()
    assert record["output"] == "clip.swap.mp4"
    assert record["frames"] == 8
    assert record["changed"] > 0
    assert record["parts"]
    swapped = [frame.rgb for frame in open_clip(Path("clip.swap.mp4")).frames()]
    assert [frame.shape for frame in swapped] == [(120, 90, 3)] * 8
    before = [frame.rgb for frame in open_clip(clip).frames()]
    assert np.abs(swapped[5].astype(int) - before[5]).max() > 60


@pytest.mark.parametrize(
    "words", [["CLIP", "PHOTO", "--parts", "all"], ["PHOTO", "CLIP", "--grid"],
              ["PHOTO", "CLIP", "--parts", "all", "--out", "swap.png"]]
)  # fmt: skip
def test_what_transfer_does_not_do_with_clips(cli, clip: Path, photo: Path, tiny_checkpoint: Path, words):
    given = {"CLIP": clip, "PHOTO": photo}
    outcome = cli("transfer", *(given.get(word, word) for word in words), "--model", tiny_checkpoint)
    assert outcome.code == 2
    assert list(Path().iterdir()) == []

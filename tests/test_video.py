"""Clips that OpenCV writes itself: what goes in comes out, upright and whole, or not at all."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from partswap.errors import ImageError, UsageError
from partswap.video import open_clip, write_clip


def labels(height: int, width: int, count: int = 5) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [
        draw.integers(0, 255, (height // 10 + 1, width // 10 + 1), np.uint8)
        .repeat(10, 0)
        .repeat(10, 1)[:height, :width]
        for _ in range(count)
    ]


def written(path: Path, frames: list[np.ndarray], fps: float = 25) -> Path:
    with write_clip(path, fps, overwrite=False) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.mark.parametrize("size", [(120, 90), (121, 91), (64, 48)])
def test_label_clips_are_lossless(tmp_path: Path, size: tuple[int, int]):
    """Odd sides are filled up with background; nothing is cut off."""
    frames = labels(*size)
    clip = open_clip(written(tmp_path / "a.mkv", frames))
    read = [frame.rgb[: size[0], : size[1], 0] for frame in clip.frames()]
    assert len(read) == len(frames)
    assert all((one == other).all() for one, other in zip(read, frames, strict=True))


def test_pictures_keep_their_colours_roughly(tmp_path: Path):
    red = np.zeros((96, 64, 3), np.uint8)
    red[..., 0] = 220
    clip = open_clip(written(tmp_path / "a.mp4", [red] * 6, fps=12))
    assert (clip.fps, clip.count) == (12, 6)
    frames = list(clip.frames())
    assert len(frames) == 6
    assert np.abs(frames[3].rgb.reshape(-1, 3).mean(axis=0) - (220, 0, 0)).max() < 8


def test_a_phones_rotation_is_undone(tmp_path: Path):
    """The matrix in an .mp4's track header says how to turn; phones hold it, pixels lie on their side."""
    wide = np.zeros((64, 96, 3), np.uint8)
    wide[:, :48] = 255
    data = bytearray(written(tmp_path / "a.mp4", [wide] * 4).read_bytes())
    header = data.index(b"tkhd")
    one = 1 << 16
    data[header + 44 : header + 80] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 64 * one, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(data)
    (first, *_) = open_clip(tmp_path / "turned.mp4").frames()
    assert first.rgb.shape == (96, 64, 3)
    assert first.rgb[:40].mean() > 200  # the left half is the upper half now
    assert first.rgb[56:].mean() < 50


@pytest.mark.parametrize("content", [b"", b"no clip" * 999, None])
def test_what_is_no_clip_is_one_sentence(tmp_path: Path, content: bytes | None, capfd):
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=r"bad\.mp4"):
        list(open_clip(path).frames())
    assert capfd.readouterr().err == ""


def test_a_truncated_clip_is_an_error(tmp_path: Path):
    whole = written(tmp_path / "a.mkv", labels(240, 240, 60))
    clip = open_clip(whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ImageError, match="truncated"):
        list(clip.frames())


def test_nothing_is_left_of_a_clip_that_fails(tmp_path: Path):
    def interrupted() -> None:
        with write_clip(tmp_path / "new" / "a.mp4", 25, overwrite=False) as writer:
            writer.write(np.zeros((64, 64, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path: Path):
    (tmp_path / "a.mkv").write_text("mine")
    with pytest.raises(UsageError, match="overwrite"):
        written(tmp_path / "a.mkv", labels(64, 64))
    assert (tmp_path / "a.mkv").read_text() == "mine"

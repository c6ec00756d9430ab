import errno
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from partswap.errors import PartswapError, UsageError
from partswap.imaging import atomic_write, load_image, save_image, save_json, save_label_map

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (21, 34, 3), dtype=np.uint8)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------- atomic_write


def test_the_file_appears_whole_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.bin"
    with atomic_write(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".bin"
        temporary.write_bytes(b"half")
        assert not path.exists()
        temporary.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == ["a.bin"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("existed", [False, True])
def test_a_failure_leaves_everything_as_it_was(
    tmp_path: Path, error: type[BaseException], existed: bool
) -> None:
    path = tmp_path / "a.txt"
    if existed:
        path.write_text("old")

    def write() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert names(tmp_path) == (["a.txt"] if existed else [])
    assert not existed or path.read_text() == "old"


def test_folders_made_for_a_failed_file_are_removed(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_write(tmp_path / "new" / "deep" / "a.txt"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert names(tmp_path) == []


def test_interrupted_while_the_file_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_json({"a": 1}, tmp_path / "a.json")
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_sentence(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    for where in ("fsync", "write"):
        with monkeypatch.context() as patch:
            if where == "fsync":
                patch.setattr(os, "fsync", full)
            else:
                patch.setattr(Path, "write_bytes", full)
            with pytest.raises(PartswapError, match=r"a\.json: the disk is full; free some space"):
                save_json([1], tmp_path / "a.json")
        assert names(tmp_path) == []


def test_other_errors_of_the_block_pass_through(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_write(tmp_path / "a"):
            (tmp_path / "missing").read_bytes()

    with pytest.raises(FileNotFoundError):
        write()
    assert names(tmp_path) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(PartswapError, match=r"could not be written|disk"):
        save_json([1], tmp_path / "file" / "a.json", overwrite=overwrite)
    with pytest.raises(UsageError, match="is a folder"):
        save_json([1], tmp_path, overwrite=overwrite)
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_file_that_appeared_meanwhile_is_not_replaced(
    tmp_path: Path, hard_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    if not hard_links:

        def link(*_: object) -> None:
            raise OSError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(os, "link", link)
    with atomic_write(path, overwrite=False) as temporary:
        temporary.write_text("first")
    assert path.read_text() == "first"
    path.unlink()

    def write() -> None:
        with atomic_write(path, overwrite=False) as temporary:
            temporary.write_text("mine")
            path.write_text("theirs")

    with pytest.raises(UsageError, match="--overwrite"):
        write()
    assert path.read_text() == "theirs"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save_json([1], tmp_path / "a.json")
    mode = stat.S_IMODE((tmp_path / "a.json").stat().st_mode)
    assert mode == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_long_names_leave_room_for_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250 + ".json")
    save_json([1], path)
    assert names(tmp_path) == [path.name]


# ---------------------------------------------------------------- overwriting


def test_nothing_is_overwritten_unless_asked(tmp_path: Path, photo: np.ndarray) -> None:
    labels = photo[:, :, 0] % 3
    palette = [(0, 0, 0), (255, 0, 0), (0, 255, 0)]
    writers = {
        "a.png": lambda path, **more: save_image(photo, path, **more),
        "b.png": lambda path, **more: save_label_map(labels, palette, path, **more),
        "c.json": lambda path, **more: save_json({"a": 1}, path, **more),
    }
    for name, write in writers.items():
        path = tmp_path / name
        path.write_text("precious")
        with pytest.raises(UsageError, match=rf"{name}: exists already; give `--overwrite`"):
            write(path)
        assert path.read_text() == "precious"
        write(path, overwrite=True)
        assert path.read_bytes() != b"precious"
    assert names(tmp_path) == list(writers)


def test_a_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists already"):
        save_json([1], tmp_path / "a.json")


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.tif", "a.tiff", "a.bmp", "a.ppm"])
def test_lossless_formats_return_the_same_pixels(tmp_path: Path, photo: np.ndarray, name: str) -> None:
    save_image(photo, tmp_path / name)
    assert np.array_equal(load_image(tmp_path / name).rgb, photo)
    grey = photo[:, :, 0]
    save_image(grey, tmp_path / name, overwrite=True)
    assert np.array_equal(load_image(tmp_path / name).rgb[:, :, 1], grey)


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp"])
def test_lossy_formats_stay_close(tmp_path: Path, name: str) -> None:
    y, x = np.mgrid[0:64, 0:96]
    smooth = np.dstack([x * 2, y * 3, 255 - x * 2]).astype(np.uint8)
    save_image(smooth, tmp_path / name)
    assert np.abs(load_image(tmp_path / name).rgb.astype(int) - smooth).mean() < 3
    size = (tmp_path / name).stat().st_size
    save_image(smooth, tmp_path / name, quality=20, overwrite=True)
    assert (tmp_path / name).stat().st_size < size


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_the_profile_is_kept(tmp_path: Path, photo: np.ndarray, name: str) -> None:
    save_image(photo, tmp_path / name, icc=SRGB)
    assert load_image(tmp_path / name).icc == SRGB


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_alpha_is_kept_with_the_colours_beneath(tmp_path: Path, photo: np.ndarray, name: str) -> None:
    alpha = np.where(photo[:, :, 0] > 128, 255, 0).astype(np.uint8)
    save_image(photo, tmp_path / name, alpha=alpha)
    loaded = load_image(tmp_path / name)
    assert np.array_equal(loaded.rgb, photo)
    assert np.array_equal(loaded.alpha, alpha)
    save_image(np.dstack([photo, alpha]), tmp_path / name, overwrite=True)
    assert np.array_equal(load_image(tmp_path / name).alpha, alpha)


def test_what_a_format_cannot_hold(tmp_path: Path, photo: np.ndarray) -> None:
    for name in ("a.jpg", "a.bmp", "a.ppm"):
        with pytest.raises(UsageError, match="transparency"):
            save_image(photo, tmp_path / name, alpha=photo[:, :, 0])
    for name in ("a.gif", "a.heic", "a"):
        with pytest.raises(UsageError, match="are not written as"):
            save_image(photo, tmp_path / name)
    with pytest.raises(UsageError, match="16383 pixels a side"):
        save_image(np.zeros((1, 17_000, 3), np.uint8), tmp_path / "a.webp")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("array", "alpha"),
    [
        (np.zeros((4, 4, 3), np.float32), None),
        (np.zeros((4, 4, 2), np.uint8), None),
        (np.zeros((0, 4, 3), np.uint8), None),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8)),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)),
    ],
)
def test_arrays_of_another_kind_are_bugs_of_the_caller(
    tmp_path: Path, array: np.ndarray, alpha: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="must be uint8"):
        save_image(array, tmp_path / "a.png", alpha=alpha)


# ---------------------------------------------------------------- label maps


@pytest.mark.parametrize("count", [2, 3, 17, 256])
def test_label_maps_are_8_bit_palette_pngs(tmp_path: Path, count: int) -> None:
    labels = np.random.default_rng(count).integers(0, count, (13, 29)).astype(np.uint8)
    palette = [(i, 255 - i, (i * 7) % 256) for i in range(count)]
    path = tmp_path / "a.parts.png"
    save_label_map(labels, palette, path)
    assert path.read_bytes()[24:26] == bytes([8, 3])  # bit depth 8, colour type palette
    with Image.open(path) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), labels)
        assert image.getpalette()[: 3 * count] == [value for color in palette for value in color]


def test_bad_label_maps(tmp_path: Path) -> None:
    labels = np.array([[0, 3]], np.uint8)
    with pytest.raises(UsageError, match=r"\.png"):
        save_label_map(labels, [(0, 0, 0)] * 4, tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="label 3"):
        save_label_map(labels, [(0, 0, 0)] * 3, tmp_path / "a.png")
    with pytest.raises(ValueError, match="uint8"):
        save_label_map(labels.astype(int), [(0, 0, 0)] * 4, tmp_path / "a.png")  # type: ignore[arg-type]
    assert names(tmp_path) == []


# ---------------------------------------------------------------- JSON


def test_json(tmp_path: Path) -> None:
    record = {
        "größe": np.float64(0.5),
        "n": np.int64(3),
        "box": np.arange(4),
        "path": Path("a") / "b",
        "ok": np.True_,
    }
    save_json(record, tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text("utf-8")
    assert "größe" in text
    assert text.endswith("}\n")
    assert json.loads(text) == {"größe": 0.5, "n": 3, "box": [0, 1, 2, 3], "path": "a/b", "ok": True}


@pytest.mark.parametrize("value", [float("nan"), object(), np.array([np.inf])])
def test_what_json_cannot_hold(tmp_path: Path, value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        save_json({"a": value}, tmp_path / "a.json")
    assert names(tmp_path) == []

"""A folder of photos in memory: what is skipped, what is refused, who belongs together."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from partswap.errors import UsageError
from partswap.training.data import MIN_PHOTOS, load_photos

SIZE = (64, 64)
Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight photos in two folders, each of one colour."""
    for i in range(8):
        path = tmp_path / "photos" / ("ab"[i // 4]) / f"p{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 40), (i * 30, 0, 0)).save(path)
    return tmp_path / "photos"


def test_photos_are_read_in_order_as_uint8(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    photos = load_photos(folder, SIZE, report=lambda done, total: seen.append((done, total)))
    assert photos.images.shape == (8, 3, 64, 64)
    assert photos.images.dtype is torch.uint8
    assert photos.names == [f"{'ab'[i // 4]}/p{i}.png" for i in range(8)]
    assert photos.images[:, 0, 32, 32].tolist() == [i * 30 for i in range(8)]
    assert photos.masks is None
    assert photos.partners.tolist() == list(range(8))
    assert seen[-1] == (8, 8)


def test_an_unreadable_image_is_named_and_skipped(folder: Path) -> None:
    (folder / "a" / "broken.jpg").write_bytes(b"not a photo")
    whole = (folder / "a" / "p0.png").read_bytes()
    (folder / "b" / "cut.png").write_bytes(whole[: len(whole) // 2])
    photos = load_photos(folder, SIZE)
    assert len(photos) == 8
    assert [name for name, _ in photos.skipped] == ["a/broken.jpg", "b/cut.png"]
    assert all(reason for _, reason in photos.skipped)


def test_too_few_photos_are_one_sentence_that_names_the_first_bad_one(folder: Path) -> None:
    (folder / "a" / "p1.png").write_bytes(b"no")
    with pytest.raises(UsageError, match=rf"7 readable photos.*at least {MIN_PHOTOS}.*a/p1.png") as raised:
        load_photos(folder, SIZE)
    assert raised.value.exit_code == 2


def test_no_photos_and_no_folder_are_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="0 readable photos"):
        load_photos(tmp_path / "empty", SIZE)
    with pytest.raises(UsageError, match="not a folder"):
        load_photos(tmp_path / "nowhere", SIZE)


def test_photos_are_fitted_with_their_aspect_and_their_edges_repeated(folder: Path) -> None:
    ramp = np.zeros((20, 80, 3), np.uint8)
    ramp[:, :40, 1] = 200
    ramp[:, 40:, 2] = 100
    Image.fromarray(ramp).save(folder / "a" / "p0.png")
    photos = load_photos(folder, SIZE)
    inside = photos.inside[0, 0]
    assert inside.sum() == 16 * 64  # 80 x 20 becomes 64 x 16
    assert inside[24:40].all()
    picture = photos.images[0]
    assert (picture[1, :, 10] == 200).all()  # the rest of the frame repeats the edge
    assert (picture[2, :, 60] == 100).all()
    assert photos.inside[1, 0].sum() == 64 * 48


@pytest.mark.parametrize("size", [(1, 1), (1000, 3)])
def test_odd_shapes_fit(folder: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (9, 9, 9)).save(folder / "a" / "p0.png")
    photos = load_photos(folder, SIZE)
    assert photos.inside[0].sum() >= 64
    assert (photos.images[0] == 9).all()


def write_masks(masks: Path, names: dict[str, int]) -> Path:
    for name, half in names.items():
        (masks / name).parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((40, 30), np.uint8)
        mask[:half] = 255
        Image.fromarray(mask).save(masks / name)
    return masks


def test_masks_are_found_by_stem_and_photos_without_one_left_out(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (30, 40)).save(folder / "b" / "p8.png")
    masks = write_masks(tmp_path / "masks", {f"p{i}.png": 40 if i else 20 for i in range(8)})
    photos = load_photos(folder, SIZE, masks=masks)
    assert len(photos) == 8
    assert photos.skipped == [("b/p8.png", "it has no mask")]
    assert photos.masks is not None
    assert photos.masks.shape == (8, 1, 64, 64)
    share = (photos.masks > 127).float().mean((1, 2, 3))
    assert share[0].item() == pytest.approx(0.375, abs=0.02)  # half of the 48 columns that hold the photo
    assert share[1].item() == pytest.approx(0.75, abs=0.02)
    assert (photos.masks[photos.inside == 0] == 0).all()


def test_a_mask_of_the_same_path_wins_over_one_of_the_same_stem(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "b").iterdir():
        path.rename(path.with_name(f"p{int(path.stem[1:]) - 4}.png"))  # the same names as in a
    names = {f"{f}/p{i}.png": 40 if f == "a" else 10 for f in "ab" for i in range(4)}
    photos = load_photos(folder, SIZE, masks=write_masks(tmp_path / "masks", names))
    assert photos.masks is not None
    share = (photos.masks > 127).float().mean((1, 2, 3))
    assert (share[:4] > 0.7).all()
    assert (share[4:] < 0.25).all()


def test_masks_that_belong_to_other_photos_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stem"):
        load_photos(folder, SIZE, masks=write_masks(tmp_path / "masks", {"other.png": 10}))
    with pytest.raises(UsageError):
        load_photos(folder, SIZE, masks=tmp_path / "nowhere")


def test_pairs_from_a_table_go_round_in_their_group(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("group,file\nx,p0\nx,a/p2.png\nx,p5.png\ny,p7\n")
    photos = load_photos(folder, SIZE, pairs=table)
    assert photos.partners.tolist() == [2, 1, 5, 3, 4, 0, 6, 7]


def test_a_table_may_begin_with_a_byte_order_mark(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("group,file\nx,p0\nx,p5\n", encoding="utf-8-sig")
    assert load_photos(folder, SIZE, pairs=table).partners.tolist()[:6] == [5, 1, 2, 3, 4, 0]


def test_results_that_lie_beside_photos_are_no_photos(folder: Path) -> None:
    before = load_photos(folder, SIZE).names
    for ending in (".parts.png", ".overlay.png", ".swap.png"):
        shutil.copy(folder / "a" / "p0.png", folder / "b" / f"p5{ending}")
    assert load_photos(folder, SIZE).names == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "columns group,file"),
        ("group,file\nx,unknown\n", "no file named"),
        ("group,file\nx\n", "columns"),
    ],
)
def test_a_table_that_fits_nothing_is_refused(folder: Path, tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_photos(folder, SIZE, pairs=table)
    with pytest.raises(UsageError, match="could not be read"):
        load_photos(folder, SIZE, pairs=tmp_path / "nowhere.csv")


def test_photos_of_a_folder_belong_together(folder: Path) -> None:
    photos = load_photos(folder, SIZE, group_by_folder=True)
    assert photos.partners.tolist() == [1, 2, 3, 0, 5, 6, 7, 4]


def test_pictures_that_the_run_itself_wrote_are_no_photos(folder: Path) -> None:
    sheets = folder / "run" / "sheets"
    sheets.mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(sheets / "sheet.jpg")
    assert len(load_photos(folder, SIZE)) == 9
    assert len(load_photos(folder, SIZE, ignore=[folder / "run", folder])) == 8

"""Finding and reading labelled photos, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from partswap.benchmark import clothing
from partswap.benchmark.dataset import Classes, find_entries, read_label, read_photo, read_photos
from partswap.errors import ImageError, UsageError


def test_photos_and_labels_meet_by_name(drawn, tmp_path) -> None:
    images, labels, classes = drawn.write_dataset(tmp_path)
    (labels / "00.png").unlink()
    entries = find_entries(images, labels)
    assert [e.name for e in entries] == ["01", "02", "03"]
    photo = read_photo(entries[0], Classes.read(classes))
    assert np.array_equal(photo.label, drawn.figure(1))
    assert np.array_equal(photo.rgb, drawn.paint(drawn.figure(1)))


def test_sub_folders_are_part_of_the_name(drawn, tmp_path) -> None:
    images, labels, _ = drawn.write_dataset(tmp_path, 1)
    for folder in (images, labels):
        (folder / "sub").mkdir()
        (folder / "00.png").rename(folder / "sub" / "00.png")
    (tmp_path / "list.txt").write_text("00\n")
    assert [e.name for e in find_entries(images, labels, tmp_path / "list.txt")] == ["sub/00"]


def test_list_and_limit(drawn, tmp_path) -> None:
    images, labels, _ = drawn.write_dataset(tmp_path, 6)
    listed = tmp_path / "list.txt"
    listed.write_text("05\n01\n05\n")
    assert [e.name for e in find_entries(images, labels, listed)] == ["05", "01"]
    assert [e.name for e in find_entries(images, labels, limit=3)] == ["00", "02", "04"]
    listed.write_text("05\n99\n")
    with pytest.raises(UsageError, match="99 for instance"):
        find_entries(images, labels, listed)


def test_masks_must_be_complete(drawn, tmp_path) -> None:
    images, labels, classes = drawn.write_dataset(tmp_path, 2)
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.fromarray(np.where(drawn.figure(0) % 255 > 0, 219, 36).astype(np.uint8)).save(masks / "00.png")
    with pytest.raises(UsageError, match="1 photos have no mask"):
        find_entries(images, labels, masks=masks)
    (labels / "01.png").unlink()
    photo = read_photo(find_entries(images, labels, masks=masks)[0], Classes.read(classes))
    assert np.array_equal(photo.mask, drawn.figure(0) % 255 > 0)


def test_nothing_found_is_said(drawn, tmp_path) -> None:
    images, labels, _ = drawn.write_dataset(tmp_path, 1)
    (labels / "00.png").rename(labels / "other.png")
    with pytest.raises(UsageError, match="no photo"):
        find_entries(images, labels)
    with pytest.raises(UsageError, match="not a folder"):
        find_entries(tmp_path / "nowhere", labels)


def test_two_files_of_one_name_are_refused(drawn, tmp_path) -> None:
    images, labels, _ = drawn.write_dataset(tmp_path, 1)
    Image.new("RGB", (32, 48)).save(images / "00.bmp")
    with pytest.raises(UsageError, match="share a name"):
        find_entries(images, labels)


def test_class_names(tmp_path) -> None:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"parts": ["bg", "a"], "clothing": ["null", "hat", "coat"], "ignore": 9}))
    assert Classes.read(path) == Classes(["bg", "a"], 9)
    assert Classes.read(path, "clothing").names == ["null", "hat", "coat"]
    with pytest.raises(UsageError, match="it has parts, clothing"):
        Classes.read(path, "bones")
    for text in ("[1]", "{", '{"parts": ["bg", "a"], "ignore": 1}'):
        path.write_text(text)
        with pytest.raises(UsageError):
            Classes.read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        Classes.read(tmp_path / "none.json")


def test_numbers_are_the_default_names(drawn, tmp_path) -> None:
    _, labels, _ = drawn.write_dataset(tmp_path)
    assert Classes.numbered(labels.iterdir()).names == ["background", "1", "2", "3"]


def test_coarse_clothing(drawn, tmp_path) -> None:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"clothing": ["null", "coat", "hat", "jacket"]}))
    classes = Classes.read(path, "clothing", coarse=True)
    images, labels, _ = drawn.write_dataset(tmp_path, 1)
    photo = read_photo(find_entries(images, labels)[0], classes)
    outer, hat = classes.names.index("outer"), classes.names.index("hat")
    assert np.array_equal(photo.label == outer, np.isin(drawn.figure(0), (1, 3)))
    assert np.array_equal(photo.label == hat, drawn.figure(0) == 2)
    assert np.array_equal(photo.label == 255, drawn.figure(0) == 255)
    path.write_text(json.dumps({"clothing": ["null", "wing"]}))
    with pytest.raises(UsageError, match="wing"):
        Classes.read(path, "clothing", coarse=True)


def test_clothing_groups_name_each_class_once() -> None:
    words = " ".join(clothing.GROUPS.values()).split()
    assert len(words) == len(set(words)) == 58


def test_bad_labels_are_named_and_skipped(drawn, tmp_path) -> None:
    images, labels, classes = drawn.write_dataset(tmp_path, 5)
    Image.fromarray(drawn.paint(drawn.figure(0))).save(labels / "00.png")
    (labels / "01.png").write_bytes((labels / "01.png").read_bytes()[:60])
    Image.fromarray(drawn.figure(2).T).save(labels / "02.png")
    Image.fromarray(drawn.figure(3) + np.uint8(7) * (drawn.figure(3) == 3)).save(labels / "03.png")
    failed = []
    entries = find_entries(images, labels)
    kept = list(read_photos(entries, Classes.read(classes), lambda e, error: failed.append(str(error))))
    assert [photo.name for photo in kept] == ["04"]
    for text, words in zip(
        failed, ("pixels are RGB", "cannot be read", "another shape", "value 10"), strict=True
    ):
        assert words in text
    with pytest.raises(ImageError):
        read_label(labels / "00.png")

"""The Python API."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import partswap
from partswap.checkpoint.config import HangingLimb
from partswap.errors import ImageError, UsageError
from partswap.imaging.rle import decode_rle


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> partswap.Model:
    return partswap.load(tiny_checkpoint, device="cpu", engine="torch")


@pytest.fixture
def found(model: partswap.Model, photo: Path) -> partswap.Segmentation:
    return model.segment(photo)


def test_shapes_and_ranges(found: partswap.Segmentation):
    assert found.part_map.shape[0] == 7
    assert found.labels.shape == (120, 90)
    assert found.labels.dtype == np.uint8
    assert len(np.unique(found.labels)) > 2  # or the tests below would test nothing
    assert found.overlay().shape == (120, 90, 3)
    probability = found.probability("chest")
    assert probability.dtype == np.float32
    assert 0 <= probability.min() <= probability.max() <= 1
    assert found.mask("chest", "arm").dtype == bool
    assert (found.mask() == (found.labels > 0)).all()
    assert (found.mask("chest") == np.isin(found.labels, (1, 2))).all()


def test_a_path_a_picture_and_an_array_are_the_same(model: partswap.Model, photo: Path):
    picture = Image.open(photo)
    given = [photo, str(photo), photo.read_bytes(), picture, np.asarray(picture)]
    labels = [found.labels for found in model.segment_many(given)]
    assert all((each == labels[0]).all() for each in labels)
    assert (partswap.segment(photo, model=model.checkpoint.path).labels == labels[0]).all()


def test_islands_of_limbs_are_mended_in_photos_and_not_in_the_frames_of_a_clip(
    model: partswap.Model, photo: Path
):
    everything = HangingLimb((1,), (2, 3, 4, 5, 6))
    config = replace(model.checkpoint.config, limbs=(everything,))
    told = partswap.Model(replace(model.checkpoint, config=config), model.engine)
    prepared = model.prepare(photo)
    part_map = np.full((7, 32, 24), 0.02, np.float32)
    part_map[2] = 0.88
    part_map[1:3, 10:14, 10:14] = np.array([0.8, 0.1], np.float32).reshape(2, 1, 1)
    island = (slice(11, 13), slice(11, 13))
    assert (model.found(prepared, part_map).part_map.argmax(0)[island] == 1).all()
    assert (told.found(prepared, part_map).part_map.argmax(0)[island] == 2).all()
    assert (told.for_frames().found(prepared, part_map).part_map.argmax(0)[island] == 1).all()


def test_a_second_head_on_an_arm_is_an_arm_in_photos_and_not_in_the_frames_of_a_clip(
    model: partswap.Model, photo: Path
):
    config = replace(model.checkpoint.config, limbs=(HangingLimb((2,), once=((1,),)),))
    told = partswap.Model(replace(model.checkpoint, config=config), model.engine)
    prepared = model.prepare(photo)
    part_map = np.full((7, 32, 24), 0.02, np.float32)
    part_map[2] = 0.88
    for head in ((slice(2, 8), slice(4, 10)), (slice(14, 17), slice(14, 17))):
        part_map[(slice(1, 3), *head)] = np.array([0.8, 0.1], np.float32).reshape(2, 1, 1)
    fist = (slice(15, 16), slice(15, 16))
    assert (model.found(prepared, part_map).part_map.argmax(0)[fist] == 1).all()
    found = told.found(prepared, part_map).part_map.argmax(0)
    assert (found[fist] == 2).all()
    assert (found[3:7, 5:9] == 1).all()
    assert (told.for_frames().found(prepared, part_map).part_map.argmax(0)[fist] == 1).all()


def test_bare_limbs_are_looked_for_before_the_body_in_photos_and_not_in_the_frames_of_a_clip(
    model: partswap.Model, monkeypatch: pytest.MonkeyPatch, photo: Path
):
    told = HangingLimb((1,), before=(2,), bare=(3,))
    config = replace(model.checkpoint.config, limbs=(told,))
    looking = partswap.Model(replace(model.checkpoint, config=config), model.engine)
    asked = []

    def crossed(part_map: np.ndarray, pixels: np.ndarray, limbs: Any) -> np.ndarray:
        asked.append((pixels.shape, limbs))
        return part_map

    monkeypatch.setattr("partswap.segmentation.with_crossings", crossed)
    prepared = model.prepare(photo)
    looking.found(prepared, np.full((7, 32, 24), 1 / 7, np.float32))
    assert asked == [(prepared.pixels.shape, (told,))]
    looking.for_frames().found(prepared, np.full((7, 32, 24), 1 / 7, np.float32))
    assert len(asked) == 1


def test_small_parts_are_looked_at_from_near_in_photos_not_in_clips_nor_when_it_is_to_be_quick(
    model: partswap.Model, monkeypatch: pytest.MonkeyPatch, photo: Path
):
    checkpoint = replace(model.checkpoint, config=replace(model.checkpoint.config, closer=((1,),)))
    looking = partswap.Model(checkpoint, model.engine)
    asked = []

    def closer(part_map: np.ndarray, rgb: np.ndarray, frame: Any, *told: Any) -> np.ndarray:
        asked.append((rgb.shape, told[0], told[-1]))
        return part_map

    monkeypatch.setattr("partswap.segmentation.looked_at_closer", closer)
    found = looking.segment(photo)
    assert asked == [(found.image.rgb.shape, ((1,),), checkpoint.config.multiple)]
    looking.for_frames().segment(photo)
    partswap.Model(checkpoint, model.engine, quick=True).segment(photo)
    assert len(asked) == 1
    looking.for_transfer().segment(photo)
    assert asked[1:] == [(found.image.rgb.shape, (), checkpoint.config.multiple)]


def test_who_is_in_a_hurry_is_not_turned(model: partswap.Model, photo: Path):
    batches = []

    class Noting:
        def run(self, batch: np.ndarray) -> np.ndarray:
            batches.append(batch.shape)
            part_map = np.full((len(batch), 7, *batch.shape[1:3]), 1 / 7, np.float32)
            part_map[:, 0] = 0
            return part_map

    pixels = model.prepare(photo).pixels[None]
    for quick, looks in ((False, 3), (True, 1)):
        batches.clear()
        partswap.Model(model.checkpoint, Noting(), quick=quick).part_maps(pixels)  # type: ignore[arg-type]
        assert len(batches) == looks


def test_only_leaves_the_others_out(found: partswap.Segmentation):
    chest = found.only("chest")
    assert set(np.unique(chest.labels)) <= {0, 1, 2}
    assert (chest.mask() == found.mask("chest")).all()
    assert [part["id"] for part in chest.record()["parts"]] == [1, 2]
    with pytest.raises(UsageError, match="wing"):
        found.only("wing")


def test_cutout_has_no_colour_where_it_is_transparent(found: partswap.Segmentation):
    name = found.parts.name(int(np.bincount(found.labels.ravel())[1:].argmax()) + 1)
    rgba = found.cutout(name)
    inside = found.mask(name)
    assert inside.any()
    assert (rgba[..., 3] == np.where(inside, 255, 0)).all()
    assert not rgba[~inside].any()
    assert (rgba[inside, :3] == found.image.rgb[inside]).all()


def test_cutout_keeps_the_photos_own_transparency(model: partswap.Model, photo: Path):
    rgba = np.dstack((np.asarray(Image.open(photo)), np.full((120, 90), 100, np.uint8)))
    found = model.segment(rgba)
    assert set(np.unique(found.cutout()[..., 3])) <= {0, 100}


def test_record(found: partswap.Segmentation):
    record = found.record()
    assert {key: record[key] for key in ("width", "height", "device", "engine", "model")} == {
        "width": 90, "height": 120, "device": "cpu", "engine": "torch", "model": "tiny",
    }  # fmt: skip
    assert len(record["revision"]) == 12
    assert [part["id"] for part in record["parts"]] == [1, 2, 3, 4, 5, 6]
    assert [part["name"] for part in record["parts"]][:3] == ["chest", "chest", "arm"]
    for part in record["parts"]:
        mask = found.labels == part["id"]
        assert (decode_rle(part["rle"]) == mask).all()
        assert part["pixels"] == mask.sum()
        assert part["share"] == pytest.approx(mask.mean(), abs=1e-6)
        if part["box"]:
            x0, y0, x1, y1 = part["box"]
            assert mask[y0:y1, x0:x1].sum() == mask.sum()
        else:
            assert not mask.any()


def test_probabilities_cover_the_photo(found: partswap.Segmentation):
    probabilities, ids = found.only("arm").probabilities()
    assert ids == (0, 3)
    assert probabilities.dtype == np.float16
    assert probabilities.shape == (2, *found.frame.content)


@pytest.mark.parametrize("size", [(1, 1), (3000, 10), (10, 3000), (500, 300)])
def test_any_size(model: partswap.Model, size):
    assert model.segment(np.zeros((*size, 3), np.uint8)).labels.shape == size


def test_bad_images(model: partswap.Model, tmp_path: Path):
    with pytest.raises(ImageError, match=r"nothing\.jpg"):
        model.segment(tmp_path / "nothing.jpg")
    with pytest.raises(ImageError):
        model.segment(b"no image")


def test_public_names():
    assert set(dir(partswap)) >= {"load", "segment", "Model", "Segmentation"}
    with pytest.raises(AttributeError):
        partswap.nothing  # noqa: B018

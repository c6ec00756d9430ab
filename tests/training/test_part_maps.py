"""Part maps that `train --refine` learns from: the model's own, and those of a teacher."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from partswap.checkpoint import read_checkpoint, write_parts
from partswap.nets.encoder import Encoder
from partswap.parts import Parts
from partswap.training import part_maps
from partswap.training.data import PhotoSet
from partswap.training.limbs import Limb
from partswap.training.part_maps import (
    Teacher,
    differ_widely,
    own_foreground,
    own_part_maps,
    supported_foreground,
)

Words = Callable[..., list[str]]
H, W = 96, 64
CHEST, ARM = 0, 1
PARTS = Parts.default(2).renamed({1: "chest", 2: "arm"})
LIMBS = (Limb((2,), 0.0, before=(1,)),)


class Says(nn.Module):
    """A net that calls the middle of every photo chest, the rest arm, or the other way round."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        w = x.shape[-1]
        middle = torch.zeros(len(x), 3, *x.shape[-2:])
        middle[:, 1 + self.inner, :, w // 3 : 2 * w // 3] = 3.0
        for side in (slice(0, w // 3), slice(2 * w // 3, w)):
            middle[:, 2 - self.inner, :, side] = 3.0
        return middle


def run(photos: PhotoSet, upright: bool = False) -> Any:
    log = SimpleNamespace(stage=lambda _: None, say=lambda _: None, advance=lambda *_: None)
    options = SimpleNamespace(seed=0, parts=2, mirror=True, upright=upright)
    runner = SimpleNamespace(log=log, precision=torch.float32)
    return SimpleNamespace(photos=photos, options=options, runner=runner, device=torch.device("cpu"))


def two_folders() -> PhotoSet:
    """Bare arms on both sides of a vest, and one before it."""
    images = torch.full((8, 3, H, W), 200, dtype=torch.uint8)
    images[:, :, :, 21:43] = 20
    images[:, :, 40:52, 20:38] = 200
    masks = torch.full((8, 1, H, W), 255, dtype=torch.uint8)
    masks[:, :, :4] = masks[:, :, -4:] = 0
    names = [f"{folder}/{i}.png" for folder in ("gym", "street") for i in range(4)]
    return PhotoSet(images, masks, torch.ones_like(masks), torch.arange(8), names, [])


def test_photos_of_a_folder_learn_from_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_maps, "load_student", lambda _: Says(ARM))
    teacher = Teacher("street", SimpleNamespace())  # type: ignore[arg-type]
    found = own_part_maps(run(two_folders()), Says(CHEST), PARTS, (), teacher)
    assert found.shape == (8, 2, H // 4, W // 4)
    middle = found[:, :, 3:8, 8].argmax(1)
    assert (middle[:4] == CHEST).all()
    assert (middle[4:] == ARM).all()
    alone = own_part_maps(run(two_folders()), Says(CHEST), PARTS, ())
    assert (alone[:, :, 3:8, 8].argmax(1) == CHEST).all()


def test_parts_of_who_is_not_upright_are_left_open_unless_a_teacher_knows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(part_maps, "load_student", lambda _: Says(ARM))
    teacher = Teacher("street", SimpleNamespace())  # type: ignore[arg-type]
    photos = two_folders()
    assert photos.masks is not None
    photos.masks[1:, :, :, :18] = photos.masks[1:, :, :, 46:] = 0  # the first alone is wide
    photos.masks[5] = photos.masks[0]
    for upright in (False, True):
        found = own_part_maps(run(photos, upright=upright), Says(CHEST), PARTS, (), teacher)
        known = found.flatten(1).any(1)
        assert known.tolist() == [not upright, *[True] * 7]


class Sees(nn.Module):
    """A net that takes the upper half of every photo, and the fringe of two rows below it, for chest."""

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.zeros(len(x), 3, *x.shape[-2:])
        logits[:, 0] = 30.0
        logits[:, 1, : x.shape[-2] // 2 + 2] = 60.0
        return logits


def test_where_new_poses_differ_widely_masks_are_believed() -> None:
    photos = two_folders()
    assert photos.masks is not None
    photos.masks[:] = 0
    photos.masks[:, :, : H // 2] = 255
    photos.masks[:, :, H - 30 : H - 10] = 255  # shins that the net does not see
    teacher = Teacher("street", SimpleNamespace())  # type: ignore[arg-type]
    found = own_foreground(run(photos), Sees(), teacher, batch=3)
    assert found.dtype is torch.uint8
    assert (found[:, :, : H // 2] == 255).all()
    assert (found[:, :, H // 2 : H // 2 + 2] == 128).all(), "an outline is between the two"
    assert (found[:4, :, H - 30 : H - 10] == 255).all()
    assert (found[4:, :, H - 30 : H - 10] == 128).all(), "the teacher knows these photos"
    assert (found[:, :, -10:] == 0).all()
    assert (own_foreground(run(photos), Sees(), None)[:, :, H - 30 : H - 10] == 128).all()


def test_nothing_is_seen_beyond_the_photo() -> None:
    """What the net sees in the repeated edge says nothing of the outlines beside it."""
    photos = two_folders()
    assert photos.masks is not None
    photos.inside[:, :, :20] = 0
    photos.masks[:] = 0
    photos.masks[:, :, 22 : H // 2] = 255  # the mask's outline begins two rows below the photo's edge
    found = own_foreground(run(photos), Sees(), Teacher("street", SimpleNamespace()))  # type: ignore[arg-type]
    assert (found[:, :, :20] == 0).all()
    assert (found[:, :, 20:22] == 128).all()


def test_foregrounds_differ_widely_where_more_than_an_outline_lies_between() -> None:
    seen, masks = torch.zeros(1, 1, 320, 64), torch.zeros(1, 1, 320, 64)
    seen[:, :, 100:104] = 1.0  # as wide as an outline
    seen[:, :, 200:212, 10:30] = 1.0  # a forearm
    masks[:, :, 206:212, 10:30] = 1.0
    found = differ_widely(seen, masks)
    assert found.dtype is torch.bool
    assert not found[:, :, :200].any()
    assert found[:, :, 200:206, 10:30].all()
    assert int(found.sum()) == 6 * 20
    assert torch.equal(found, differ_widely(masks, seen))
    seen[:, :, :6] = 1.0  # at the photo's edge, too
    assert differ_widely(seen, masks)[:, :, :6].all()


def test_what_other_photos_do_not_speak_for_goes_from_photos_that_no_teacher_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def top(_encoder: Any, photos: PhotoSet, checked: Tensor, seed: int, _report: Any) -> Tensor:
        assert seed == 7
        found = torch.zeros_like(photos.inside, dtype=torch.bool)
        found[checked, :, :10] = True
        return found

    monkeypatch.setattr(part_maps, "unsupported", top)
    under_way = run(two_folders())
    under_way.options.seed = 7
    given = under_way.photos.masks.clone()
    teacher = Teacher("street", SimpleNamespace())  # type: ignore[arg-type]
    found = supported_foreground(under_way, teacher, Encoder("test_byobnet"))
    assert found.dtype is torch.uint8
    assert torch.equal(found[4:], given[4:]), "the teacher knows these photos"
    assert (found[:4, :, :10] == 0).all()
    assert torch.equal(found[:4, :, 10:], given[:4, :, 10:])


def test_wide_photos_are_seen_in_a_wide_frame_too() -> None:
    shapes = set()

    class Looks(Says):
        def forward(self, x: Tensor) -> Tensor:
            shapes.add((x.shape[-2] > x.shape[-1], len(x)))
            return super().forward(x)

    photos = two_folders()
    own_part_maps(run(photos), Looks(CHEST), PARTS, ())
    assert all(upright for upright, _ in shapes)
    photos.inside[6:, :, :30] = photos.inside[6:, :, -30:] = 0
    photos.masks = photos.masks * photos.inside  # type: ignore[operator]
    found = own_part_maps(run(photos), Looks(CHEST), PARTS, ())
    assert (False, 2) in shapes
    assert found.shape == (8, 2, H // 4, W // 4)
    assert (found[6:, CHEST, 10:14, 8] > 200).all()


def test_limbs_are_no_islands_in_the_model_s_own_part_maps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_maps, "load_student", lambda _: Says(CHEST))
    told = []

    def drawn(
        targets: Tensor, photos: PhotoSet, parts: Parts, limbs: tuple[Limb, ...], report: Any
    ) -> Tensor:
        told.append((len(targets), limbs))
        return targets

    monkeypatch.setattr(part_maps, "limbs_drawn", drawn)
    monkeypatch.setattr(part_maps, "FINER", 1)
    teacher = Teacher("street", SimpleNamespace())  # type: ignore[arg-type]
    limbs = (Limb((2,), 0.0, before=(1,), never=(1,)),)
    own_part_maps(run(two_folders()), Says(CHEST), PARTS, limbs, teacher)
    assert told == [(4, limbs), (4, (Limb((2,), 0.0),))]


def test_arms_before_the_body_are_looked_for_in_the_model_s_own_part_maps_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(part_maps, "load_student", lambda _: Says(CHEST))
    teacher = Teacher("street", SimpleNamespace())  # type: ignore[arg-type]
    found = own_part_maps(run(two_folders()), Says(CHEST), PARTS, LIMBS, teacher)
    before_it = found[:, :, 22:24, 14:17].argmax(1)
    assert (before_it[:4] == ARM).all()
    assert (before_it[4:] == CHEST).all()


@pytest.fixture(scope="module")
def finished(drawn: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a folder of photos with the sub-folders gym and street beside it."""
    from partswap.cli.app import main

    out = tmp_path_factory.mktemp("taught")
    for i, photo in enumerate(sorted(drawn.photos.iterdir())):
        folder = out / "data" / ("gym" if i % 2 else "street")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, folder)
    with pytest.raises(SystemExit) as ended:
        main(drawn.words(out / "run"))
    assert not ended.value.code
    return out / "run" / "model"


def words_of(run_words: Words, finished: Path, out: Path, *more: object) -> list[str]:
    words = run_words(out, "--refine", finished, *more)
    words[1] = str(finished.parents[1] / "data")
    return words


def test_a_teacher_is_recorded_and_teaches(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    for name, more in (("alone", ()), ("again", ("--teacher", f"street/={tmp_path / 'alone' / 'model'}"))):
        assert cli(*words_of(run_words, finished, tmp_path / name, *more)).code == 0
    alone, again = (read_checkpoint(tmp_path / name / "model") for name in ("alone", "again"))
    assert again.config.training["refined"][-1]["teacher"] == f"street={alone.revision}"
    assert alone.config.training["refined"][-1]["teacher"] == ""
    assert alone.revision != again.revision


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("nowhere={}", "nowhere"),
        ("street", "FOLDER=MODEL"),
        ("={}", "FOLDER=MODEL"),
        ("street=", "FOLDER=MODEL"),
    ],
)
def test_a_teacher_that_cannot_be_meant_is_refused(
    said: str, why: str, finished: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    ended = cli(*words_of(run_words, finished, tmp_path / "run", "--teacher", said.format(finished)))
    assert (ended.code, why in ended.err) == (2, True)
    assert not (tmp_path / "run" / "model").exists()


def test_a_teacher_of_other_parts_is_refused(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    write_parts(other, read_checkpoint(other).parts.renamed({1: "wheel"}))
    ended = cli(*words_of(run_words, finished, tmp_path / "run", "--teacher", f"street={other}"))
    assert (ended.code, "other parts" in ended.err) == (2, True)
    assert not (tmp_path / "run").exists()


def test_a_teacher_needs_a_model_to_refine_and_parts_that_stay(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    ended = cli(*run_words(tmp_path / "run", "--teacher", f"street={finished}"))
    assert (ended.code, "--refine" in ended.err) == (2, True)
    ended = cli(*words_of(run_words, finished, tmp_path / "run", "--regroup", "--teacher", "street=people"))
    assert (ended.code, "--regroup" in ended.err) == (2, True)
    assert not (tmp_path / "run").exists()

"""What a transfer promises: identity, nothing outside, missing parts, mirrored parts, odd sizes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import partswap
from partswap.errors import PartswapError, UsageError
from partswap.transfer import Options, Pair

NAMES = ["head", "chest", "arm", "hip", "leg", "foot"]


def change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.abs(before.astype(int) - after).max(axis=-1)


def distance_outside(mask: np.ndarray) -> np.ndarray:
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def largest_border(height: int) -> float:
    return 4 * max(1.0, height / 800)


def test_transfer_of_a_photo_onto_itself_is_the_photo(draw):
    same = draw(400, 300)
    assert change(same.image.rgb, partswap.transfer(same, same, "all").image).max() <= 1


def test_identity_does_not_hang_on_equal_pixels(draw, monkeypatch):
    # without the rule that a pixel that looks at itself stays, the warp alone must come close inside
    import partswap.transfer.compose as compose

    monkeypatch.setattr(compose, "_SAME", -1)
    same = draw(400, 300)
    changed = change(same.image.rgb, partswap.transfer(same, same, "chest").image)
    inner = cv2.erode(same.mask("chest").astype(np.uint8), np.ones((25, 25))) > 0
    assert changed[inner].max() <= 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(200, 900),
    width=st.integers(200, 900),
    parts=st.lists(st.sampled_from(NAMES[1:]), min_size=1, max_size=4, unique=True),
    border=st.floats(0, 4),
    tall=st.floats(0.4, 1.2),
    centre=st.floats(0.1, 0.9),
)
def test_outside_the_parts_and_their_border_nothing_changes(draw, height, width, parts, border, tall, centre):
    source = draw(300, 240, seed=1)
    target = draw(height, width, seed=2, tall=tall, centre=centre)
    result = Pair(source, target).transfer(parts, None, Options(border=border), picky=False)
    mask = target.mask(*parts)
    changed = change(target.image.rgb, result.image)
    if not mask.any():
        assert changed.max() == 0
        return
    allowed = 0 if border == 0 else largest_border(height)
    assert changed[distance_outside(mask) > allowed].max(initial=0) == 0
    assert result.record["border_pixels"] <= largest_border(height)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.02, 0.6))
@example(seed=838940, share=0.0234375)  # in the part map, but the photo's edges leave nothing of it
def test_outside_stays_for_any_mask(people, seed, share):
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.random((260, 220)).astype(np.float32), (0, 0), 9)
    labels = np.where(field > np.quantile(field, 1 - share), 2, 0).astype(np.uint8)
    target = people.segmentation_of(rng.integers(0, 256, (260, 220, 3)).astype(np.uint8), labels)
    result = Pair(target, target).transfer("chest", None, Options(), picky=False)
    outside = distance_outside(target.mask("chest")) > largest_border(260)
    assert change(target.image.rgb, result.image)[outside].max(initial=0) == 0


def test_the_look_arrives(draw):
    source, target = draw(400, 300, seed=1), draw(400, 300, seed=2, tall=0.7)
    result = partswap.transfer(source, target, ["chest"]).image
    inner = cv2.erode(target.mask("chest").astype(np.uint8), np.ones((9, 9))) > 0
    there = source.image.rgb[source.mask("chest")].mean(axis=0)
    assert np.abs(result[inner].mean(axis=0) - there).max() < 12
    assert result[inner].std() > 0.6 * source.image.rgb[source.mask("chest")].std()  # stripes, not mist


def test_a_part_that_the_source_lacks_is_an_error_that_says_so(draw):
    source, target = draw(left_out="leg"), draw(seed=2)
    with pytest.raises(PartswapError, match="does not show leg"):
        partswap.transfer(source, target, "leg")
    result = partswap.transfer(source, target, "all")
    assert {"part": "leg", "from": "source", "filled_by": "nothing"} in result.record["missing"]


def test_a_part_that_the_target_lacks_changes_nothing_and_says_so(draw):
    source, target = draw(), draw(seed=2, left_out="leg")
    result = partswap.transfer(source, target, "leg")
    assert np.array_equal(result.image, target.image.rgb)
    assert "does not show leg" in result.notes[0]
    assert result.record["missing"][0]["from"] == "target"


def test_a_missing_arm_is_filled_from_the_other_one(draw):
    source, target = draw(400, 300, seed=1, left_out="right arm"), draw(400, 300, seed=2)
    result = partswap.transfer(source, target, "arm")
    record = result.record["parts"][0]
    assert record["mirrored"] > 0.3 > record["filled"]
    inner = cv2.erode(target.mask("arm").astype(np.uint8), np.ones((7, 7))) > 0
    there = source.image.rgb[source.mask("arm")].mean(axis=0)
    for half in (np.s_[:, :150], np.s_[:, 150:]):
        assert np.abs(result.image[half][inner[half]].mean(axis=0) - there).max() < 25


def test_shares_add_up(draw):
    for part in partswap.transfer(draw(), draw(seed=2), "all").record["parts"]:
        assert sum(part[k] for k in ("real", "mirrored", "filled", "rendered")) == pytest.approx(1, abs=1e-3)


def test_other_parts_with_to(draw):
    source, target = draw(400, 300, seed=1), draw(400, 300, seed=2)
    result = partswap.transfer(source, target, "chest", to="hip")
    changed = change(target.image.rgb, result.image) > 0
    assert changed[target.mask("hip")].mean() > 0.8
    assert not changed[distance_outside(target.mask("hip")) > 4].any()
    with pytest.raises(UsageError, match="name as many"):
        partswap.transfer(source, target, "chest,arm,leg", to="hip,leg")


def test_strength(draw):
    source, target = draw(seed=1), draw(seed=2)
    none, half, whole = (
        partswap.transfer(source, target, "chest", strength=s).image.astype(int) for s in (0, 0.5, 1)
    )
    assert np.array_equal(none, target.image.rgb)
    assert np.abs(half - (none + whole) / 2).max() <= 1
    with pytest.raises(UsageError, match="strength"):
        partswap.transfer(source, target, "chest", strength=1.5)


def test_alpha_and_icc_go_with_the_picture(draw, tmp_path):
    from PIL import Image, ImageCms

    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    alpha = np.tile(np.linspace(0, 255, 180).astype(np.uint8), (240, 1))
    result = partswap.transfer(draw(seed=1), draw(seed=2, alpha=alpha, icc=icc), "chest")
    result.save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as written:
        assert written.info["icc_profile"] == icc
        assert np.array_equal(np.asarray(written)[..., 3], alpha)
        assert np.array_equal(np.asarray(written)[..., :3], result.image)


def test_the_source_is_brought_into_the_targets_colour_space(draw):
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source, target = draw(seed=1), draw(seed=2)
    plain = partswap.transfer(source, target, "chest").image
    same = partswap.transfer(draw(seed=1, icc=srgb), target, "chest").image
    assert np.array_equal(plain, same)  # no profile means sRGB
    broken = partswap.transfer(draw(seed=1, icc=b"nonsense"), target, "chest").image
    assert np.array_equal(plain, broken)


def test_transparent_pixels_of_the_source_are_not_carried(draw):
    source = draw(400, 300, seed=1)
    alpha = np.full((400, 300), 255, np.uint8)
    alpha[:, 150:] = 0
    source.image.rgb[:, 150:] = (255, 0, 255)  # what lies under alpha 0 may be anything
    hidden = draw(400, 300, seed=1, alpha=alpha)
    hidden.image.rgb[:] = source.image.rgb
    result = partswap.transfer(hidden, draw(400, 300, seed=2), "chest").image
    assert not (np.abs(result.astype(int) - (255, 0, 255)).max(axis=-1) < 20).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (16, 12), (40, 1200), (1200, 40)])
def test_tiny_and_extreme_targets(draw, size):
    source, target = draw(seed=1), draw(*size, seed=2)
    result = Pair(source, target).transfer("all", None, Options(), picky=False)
    assert result.image.shape == (*size, 3)
    Pair(target, source).transfer("all", None, Options(), picky=False)


def test_source_much_larger_than_target(draw):
    result = partswap.transfer(draw(1600, 1200, seed=1), draw(240, 180, seed=2), "chest")
    inner = cv2.erode(draw(240, 180).mask("chest").astype(np.uint8), np.ones((9, 9))) > 0
    assert result.image[inner].std() < 140  # reduced by area, stripes average instead of flickering


def test_another_person(people, draw):
    labels = np.maximum(people.draw_labels(300, 500, 0.4, 0.9), people.draw_labels(300, 500, 0.85, 0.5))
    target = people.segmentation_of(people.paint(labels, 2), labels)
    first, second = (partswap.transfer(draw(seed=1), target, "chest", person=n).image for n in (1, 2))
    assert change(first, target.image.rgb)[:, :330].any()
    assert not change(first, target.image.rgb)[:, 330:].any()
    assert change(second, target.image.rgb)[:, 330:].any()
    assert not change(second, target.image.rgb)[:, :330].any()
    with pytest.raises(UsageError, match="no person 3"):
        partswap.transfer(draw(), target, "chest", person=3)


def test_the_same_call_gives_the_same_picture(draw):
    source, target = draw(seed=1, left_out="right arm"), draw(seed=2)
    first, second = (partswap.transfer(source, target, "all").image for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's peak of the process itself")
def test_twelve_megapixels_within_two_gibibytes():
    # VmHWM, not ru_maxrss: a child starts with the peak of the process that forked it, here all of pytest's.
    code = """
import sys
sys.path[:0] = [sys.argv[1]]
import torch  # part of every real run
from drawn_people import draw_labels, paint, segmentation_of
from partswap.transfer import Options, Pair
labels = draw_labels(4000, 3000)
people = [segmentation_of(paint(labels, seed), labels) for seed in (1, 2)]
Pair(*people).transfer("all", None, Options())
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    folder = __file__.rsplit("/", 1)[0]
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) <= 2 << 20  # KiB


def test_a_large_target_changes_nothing_outside(draw):
    target = draw(6000, 1500, seed=2, tall=0.4)
    result = partswap.transfer(draw(300, 240, seed=1), target, "chest,leg")
    outside = distance_outside(target.mask("chest", "leg")) > largest_border(6000)
    assert change(target.image.rgb, result.image)[outside].max() == 0
    assert change(target.image.rgb, result.image).any()


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_trace_of_a_part_is_rendered(draw, tiny_checkpoint, engine):
    source, target = draw(seed=1, left_out="leg"), draw(seed=2)
    source.part_map[5] += 0.02 * source.part_map[4]  # a hint of a leg where the hip is
    pair = Pair(source, target, partswap.load(tiny_checkpoint, "cpu", engine).engine)
    result = pair.transfer("leg", None, Options())
    assert result.record["parts"][0]["rendered"] == 1
    assert result.record["missing"] == [{"part": "leg", "from": "source", "filled_by": "renderer"}]
    assert change(target.image.rgb, result.image)[target.mask("leg")].any()
    with pytest.raises(PartswapError, match="does not show leg"):  # without a renderer
        Pair(source, target).transfer("leg", None, Options())

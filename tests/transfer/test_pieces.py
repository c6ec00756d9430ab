"""The pieces of a transfer, each against something that can be worked out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from partswap.errors import UsageError
from partswap.parts import Parts
from partswap.transfer import register as registration
from partswap.transfer.figure import figure_steps
from partswap.transfer.fill import FILLED, MIRRORED, REAL, clean, pull_push
from partswap.transfer.frames import Moments, match, moments
from partswap.transfer.layers import _valid
from partswap.transfer.pair import as_subject
from partswap.transfer.people import keep_person, people_masks
from partswap.transfer.plan import mirror_name, wishes
from partswap.transfer.sides import body_axis, is_paired, split
from partswap.transfer.silhouette import (
    border_width,
    limits,
    outline,
    part_matte,
)
from partswap.transfer.view import View, crop_person, interpolate, spline_matrix
from partswap.transfer.warp import Patch, field_scale


def test_moments_of_a_box():
    box = np.zeros((40, 60))
    box[10:20, 30:50] = 1
    found = moments(box)
    assert found.mass == pytest.approx(200)
    assert found.centre == pytest.approx([39.5, 14.5])
    assert found.covariance - 0.6 * np.eye(2) == pytest.approx(np.diag([399 / 12, 99 / 12]))


def test_a_frame_carries_one_gaussian_onto_the_other():
    target = Moments(1, np.array([3.0, 5.0]), np.array([[4.0, 1.0], [1.0, 2.0]]))
    source = Moments(1, np.array([-1.0, 2.0]), np.array([[3.0, -0.5], [-0.5, 5.0]]))
    frame = match(target, source, None)
    assert frame(np.array([3.0, 5.0])) == pytest.approx([-1, 2])
    assert frame.matrix @ target.covariance @ frame.matrix.T == pytest.approx(source.covariance)
    assert frame.matrix == pytest.approx(frame.matrix.T)  # optimal transport moves without turning


def test_a_raised_arm_is_turned_not_squashed():
    hanging = Moments(1, np.array([10.0, 20.0]), np.diag([1.0, 30.0]))
    raised = Moments(1, np.array([20.0, 10.0]), np.diag([30.0, 1.0]))
    body = np.array([10.0, 10.0])
    frame = match(raised, hanging, (body, body))
    assert abs(np.linalg.det(frame.matrix)) == pytest.approx(1)
    assert frame(np.array([25.0, 10.0])) == pytest.approx([10, 25])  # the far end stays the far end


def test_the_axis_and_the_sides():
    maps = np.zeros((3, 60, 40))
    maps[1, 5:30, 15:25] = 1
    maps[2, 8:40, 5:10] = maps[2, 8:40, 30:35] = 1
    axis = body_axis(maps)
    assert axis.normal == pytest.approx([1, 0], abs=0.02)
    assert axis.point[0] == pytest.approx(19.5, abs=0.5)
    assert is_paired(maps[2], axis)
    assert not is_paired(maps[1], axis)
    left, right = split(maps[2], axis)
    assert left[:, :20].sum() == right[:, 20:].sum() == 32 * 5
    assert (left + right == maps[2]).all()


def test_one_limb_goes_to_its_own_side():
    maps = np.zeros((3, 60, 40))
    maps[1, 5:50, 15:25] = 1
    maps[2, 8:30, 30:35] = 1
    left, right = split(maps[2], body_axis(maps))
    assert left.sum() == 0
    assert right.sum() == maps[2].sum()


def test_a_sleeve_in_two_pieces_is_one_limb():
    maps = np.zeros((3, 60, 40))
    maps[1, 5:50, 15:25] = 1
    maps[2, 8:20, 30:35] = maps[2, 24:40, 30:35] = 1
    axis = body_axis(maps)
    assert not is_paired(maps[2], axis)
    left, right = split(maps[2], axis)
    assert left.sum() == 0
    assert right.sum() == maps[2].sum()


@pytest.mark.parametrize("blur", [4.0, 1.0])
def test_the_gradient_of_the_data_term(blur):
    rng = np.random.default_rng(0)
    source, target = rng.random((2, 3, 20, 24)).astype(np.float32)
    data = registration._Data(registration._blurred(source, blur), registration._blurred(target, blur))
    y, x = np.mgrid[:20, :24].astype(float)
    dense = np.stack([x, y], -1) * 0.7 + 3.21

    def loss(at):
        read = registration._bilinear(data.table, data.size, at.reshape(-1, 2)[data.where])
        return 0.5 * ((read[:, :3].astype(float) - data.target) ** 2).sum()

    # slopes are central differences, so the two agree on average, not pixel by pixel
    direction = np.stack([np.sin(y / 7), np.cos(x / 9)], -1)
    step = 1e-2
    numeric = (loss(dense + step * direction) - loss(dense - step * direction)) / (2 * step)
    assert (data.gradient(dense) * direction).sum() == pytest.approx(numeric, rel=0.2, abs=0.02)


def test_the_gradients_of_the_penalties():
    rng = np.random.default_rng(0)
    dense, direction = rng.random((2, 8, 9, 2))

    def folding(d):
        by_x, by_y = d[:-1, 1:] - d[:-1, :-1], d[1:, :-1] - d[:-1, :-1]
        det = by_x[..., 0] * by_y[..., 1] - by_x[..., 1] * by_y[..., 0]
        return 0.5 * (np.maximum(0, 0.15 - det) ** 2).sum()

    numeric = (folding(dense + 1e-5 * direction) - folding(dense - 1e-5 * direction)) / 2e-5
    assert (registration._fold_gradient(dense, 0.15) * direction).sum() == pytest.approx(numeric, rel=1e-4)
    y, x = np.mgrid[:6, :7].astype(float)
    straight = np.stack([2 * x + y, x - 3 * y], -1)
    assert registration._bending_gradient(straight) == pytest.approx(0)  # affine maps do not bend


def test_registration_finds_a_known_bend():
    y, x = np.mgrid[:96, :64].astype(np.float32)

    def body(shift):
        return np.stack(
            [np.exp(-((x - c - shift(y)) ** 2) / 40 - (y - r) ** 2 / 120) for c, r in ((32, 25), (32, 60))]
        )

    source, target = body(lambda _: 0), body(lambda rows: 5 * np.sin(rows / 20))
    maps = [np.concatenate([1 - m.sum(0, keepdims=True), m]) for m in (source, target)]
    start = np.stack([x, y], -1).astype(float)
    found = registration.register(start, *maps, registration.Settings())
    inside = target.sum(0) > 0.4
    wanted = x - 5 * np.sin(y / 20)
    assert np.abs(found[..., 0] - wanted)[inside].mean() < 0.4 * np.abs(x - wanted)[inside].mean()
    assert registration.register(start, maps[0], maps[0], registration.Settings()) == pytest.approx(
        start, abs=1e-3
    )


def test_splines_keep_straight_lines_also_outside():
    at = np.array([-3.0, 0, 0.4, 7.7, 9, 14])
    assert spline_matrix(at, 10) @ np.arange(10) == pytest.approx(at, abs=1e-5)
    view = View(np.zeros((1, 9, 7), np.float32), (4.0, 2.0), (3.0, 5.0))
    y, x = np.mgrid[:9, :7]
    photo = view.to_photo(np.stack([x, y], -1).astype(float))
    rows, columns = np.arange(60), np.arange(40)
    there = interpolate(photo, view, rows, columns)
    assert there[..., 0] == pytest.approx(np.broadcast_to(columns, (60, 40)), abs=1e-3)
    assert there[..., 1] == pytest.approx(np.broadcast_to(rows[:, None], (60, 40)), abs=1e-3)


def test_crop_person_is_tight():
    part_map = np.zeros((2, 96, 64), np.float32)
    part_map[1, 20:80, 30:40] = 1
    part_map[0] = 1 - part_map[1]
    view = crop_person(part_map, (96, 64), (960, 640))
    assert view.size[0] == 128
    assert view.origin == pytest.approx((260, 160))


def test_the_main_person_comes_first():
    foreground = np.zeros((100, 200))
    foreground[10:90, 80:110] = 1  # main
    foreground[92:95, 80:90] = 1  # a foot of hers, cut off
    foreground[20:80, 170:195] = 1
    masks = people_masks(foreground)
    assert [bool(m[50, 95]) for m in masks] == [True, False]
    part_map = np.stack([1 - foreground, foreground]).astype(np.float32)
    kept = keep_person(part_map, (100, 200))
    assert kept[1, 93, 85] == 1
    assert kept[1, 50, 180] == 0
    assert kept[0, 50, 180] == 1
    with pytest.raises(UsageError, match="2"):
        keep_person(part_map, (100, 200), 3)


def test_crumbs_beside_a_person_are_nobodys():
    foreground = np.zeros((100, 200))
    foreground[10:90, 80:110] = 1
    foreground[30:33, 113:116] = 1  # of a passer-by
    part_map = np.stack([1 - foreground, foreground]).astype(np.float32)
    kept = keep_person(part_map, (100, 200))
    assert kept[1, 31, 114] == 0
    assert kept[1, 31, 100] == 1


def test_an_outline_has_no_rim_where_a_garment_goes_on():
    rgb = np.full((300, 200, 3), 210, np.uint8)
    rgb[50:250, 60:140] = 30  # one black dress, two parts
    person = (rgb[..., 0] == 30).astype(np.float32)
    chosen = person.copy()
    chosen[150:] = 0
    alpha = part_matte(outline(rgb, person, chosen), rgb)
    assert alpha[70:140, 61:139].min() > 0.9  # up to the silhouette
    assert alpha[160:, :].max() < 0.1
    assert alpha[100, 150:].max() < 0.1


def test_pull_push_continues_what_is_known():
    rgb = np.full((50, 40, 3), 200, np.uint8)
    known = np.zeros((50, 40), bool)
    known[10:20, 10:20] = True
    rgb[~known] = 0
    assert pull_push(rgb, known) == pytest.approx(200, abs=0.6)
    assert pull_push(rgb, np.zeros_like(known)) == pytest.approx(127.5)


def test_holes_are_mirrored_then_filled():
    rgb = np.zeros((20, 60, 3), np.uint8)
    rgb[:] = (np.arange(60) * 4)[None, :, None]
    valid = np.zeros((20, 60), bool)
    valid[:, 10:40] = True
    done = clean(rgb, valid, 5, np.random.default_rng(0))
    assert (done.rgb[valid] == rgb[valid]).all()
    assert done.rgb[10, 42, 0] == rgb[10, 36, 0]  # 39 is the last valid column: 42 mirrors to 36
    assert done.origin[10, 20] == REAL
    assert done.origin[10, 42] == MIRRORED
    assert done.origin[10, 58] == FILLED


def test_a_small_part_borrows_less_from_its_neighbours(people):
    labels = people.draw_labels(800, 400)
    source = as_subject(people.segmentation_of(people.paint(labels, 0), labels), 1)
    everything = np.isin(labels, list(people.NAMES))
    beyond = {}
    for ids in ((1,), (2, 3, 4, 5, 6)):
        part = np.isin(labels, ids)
        seen = _valid(source, (part, everything), (0, 0, 400, 800), (800, 400), tuple(people.NAMES))
        away = cv2.distanceTransform((~part).astype(np.uint8), cv2.DIST_L2, 5)
        beyond[ids] = float(away[seen].max())
    small, large = beyond.values()
    assert 0.5 * 0.2 * (labels == 1).sum() ** 0.5 < small <= 0.2 * (labels == 1).sum() ** 0.5
    assert small < large <= 0.03 * 800


def test_limits_fall_to_zero_at_the_border():
    mask = np.zeros((100, 800), bool)
    mask[30:70, 30:70] = True
    found = limits(mask, 3.0)
    assert found.upper[50, 26] == 0
    assert found.upper[50, 27] > 0
    assert found.lower[50, 50] == 255
    assert found.lower[50, 30] == 0
    strict = limits(mask, 0.0)
    assert (strict.upper > 0).sum() == mask.sum()


@pytest.mark.parametrize(("height", "most"), [(200, 4), (800, 4), (6000, 30)])
def test_the_border_keeps_its_promise(height, most):
    assert 1 <= border_width((height, 500)) <= border_width((height, 500), 4) <= most
    assert border_width((height, 500), 0) == 0


def test_reading_a_patch():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    patch = Patch.of(rgb, (7, 3), (1.0, 1.0), 4.0)
    y, x = np.mgrid[:40, :50].astype(np.float32)
    at = np.stack([x + 7, y + 3], -1)
    assert np.abs(patch.read(at, np.ones_like(x)) - rgb).max() <= 0.5
    shrunk = patch.read(at[::4, ::4], np.full((10, 13), 4, np.float32))
    assert shrunk.std() < 0.6 * rgb.std()  # noise averages out where four pixels become one


def test_scale_of_a_field():
    y, x = np.mgrid[:10, :8].astype(float)
    assert field_scale(np.stack([6 * x, 6 * y], -1), (3.0, 3.0)) == pytest.approx(2)


def test_wishes():
    parts = Parts.default(4).renamed({1: "head", 2: "chest", 3: "arm", 4: "arm"})
    assert [(w.name, w.source) for w in wishes(parts, "all", None)] == [("chest", (2,)), ("arm", (3, 4))]
    (one,) = wishes(parts, "chest,arm", "head")
    assert one.source == (2, 3, 4)
    assert one.target == (1,)
    with pytest.raises(UsageError, match="no part was named"):
        wishes(parts, " ,", None)
    sided = parts.renamed({3: "left arm", 4: "right arm"})
    assert mirror_name(sided, "left arm") == (4,)
    assert mirror_name(sided, "chest") == ()


def test_steps_of_the_figure():
    parts = Parts.default(4).renamed({1: "head", 2: "chest", 3: "arm", 4: "leg"})
    assert figure_steps(parts) == [["chest"], ["chest", "arm"], ["chest", "arm", "leg"]]
    assert figure_steps(Parts.default(2)) == [["part1"], ["part1", "part2"]]
    assert figure_steps(parts, ["arm", "leg"]) == [["arm"], ["arm", "leg"]]


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1), (3000, 100)])
def test_a_patch_of_any_shape_is_read_from_any_distance(size: tuple[int, int]):
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (*size, 3), np.uint8)
    patch = Patch.of(rgb, (0, 0), (1.0, 1.0), 4.0)
    far = rng.uniform(-1e7, 1e7, (40, 30, 2)).astype(np.float32)
    found = patch.read(far, np.ones(far.shape[:2], np.float32))
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 255
    inside = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), axis=-1).astype(np.float32)
    assert np.array_equal(patch.read(inside, np.ones(size, np.float32)), rgb)

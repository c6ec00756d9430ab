"""Where a warp is believed, and what takes its place where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from partswap.imaging.frame import scaled
from partswap.transfer import Options, Pair
from partswap.transfer.layers import Layer, merged
from partswap.transfer.pair import as_subject
from partswap.transfer.render import in_own_colour
from partswap.transfer.sides import positions
from partswap.transfer.trust import trust
from partswap.transfer.view import View

SIZE = (40, 30)


def view(mask: np.ndarray) -> View:
    """Two parts, one above the other, inside a mask."""
    maps = np.zeros((3, *SIZE), np.float32)
    maps[1, :20], maps[2, 20:] = mask[:20], mask[20:]
    maps[0] = 1 - maps[1:].sum(axis=0)
    return View(maps, (0.0, 0.0), (2.0, 2.0))


def identity() -> np.ndarray:
    return positions(SIZE).reshape(*SIZE, 2)


def test_a_field_that_changes_nothing_is_believed():
    whole = view(np.ones(SIZE, np.float32))
    assert trust(whole, whole, identity(), [(1,), (2,)]).min() == pytest.approx(1)
    mirrored = identity()
    mirrored[..., 0] = SIZE[1] - 1 - mirrored[..., 0]  # as a whole: no fold
    assert trust(whole, whole, mirrored, [(1,), (2,)]).min() == pytest.approx(1)


def test_a_fold_and_a_smear_are_not_believed():
    whole = view(np.ones(SIZE, np.float32))
    folded = identity()
    folded[:, 15:, 0] = 30 - folded[:, 15:, 0]
    found = trust(whole, whole, folded, [(1,), (2,)])
    assert found[:, :11].min() == pytest.approx(1)
    assert found[:, 20:].max() == pytest.approx(0, abs=1e-6)
    smeared = identity()
    smeared[..., 0] *= 0.05
    assert trust(whole, whole, smeared, [(1,), (2,)]).max() == pytest.approx(0, abs=1e-6)


def test_stretch_or_another_part_alone_is_forgiven_but_not_both():
    whole = view(np.ones(SIZE, np.float32))
    stretched, moved = identity(), identity()
    stretched[..., 0] /= 3.5
    moved[..., 1] -= 12  # twelve rows of the lower part look into the upper one
    both = moved.copy()
    both[..., 0] /= 3.5
    groups = [(1,), (2,)]
    assert trust(whole, whole, stretched, groups)[24:28].min() == pytest.approx(1)
    assert trust(whole, whole, moved, groups)[24:28].min() == pytest.approx(1)
    assert trust(whole, whole, both, groups)[24:28].max() == pytest.approx(0, abs=0.02)
    # parts of one name may be taken for one another
    assert trust(whole, whole, both, [(1, 2)])[24:28].min() == pytest.approx(1)


def test_the_renderer_takes_the_place_of_what_is_not_believed(draw, monkeypatch):
    import partswap.transfer.pair as module

    source, target = draw(seed=1), draw(seed=2)
    picture = np.full((60, 45, 3), (10, 200, 30), np.uint8)
    monkeypatch.setattr(module, "render", lambda *_: picture)
    monkeypatch.setattr(module, "trust", lambda s, t, *_: np.zeros(t.size, np.float32))
    result = Pair(source, target, object()).transfer("chest,arm", None, Options())
    assert [part["rendered"] for part in result.record["parts"]] == pytest.approx([1, 1])
    rows, columns = np.nonzero(target.mask("chest"))
    middle = result.image[int(rows.mean()), int(columns.mean())]
    in_source = source.image.rgb[source.mask("chest")].mean(axis=0)
    assert np.abs(middle - in_source).max() <= 2, "in the colour that the part has in the source"
    monkeypatch.setattr(module, "trust", lambda s, t, *_: np.ones(t.size, np.float32))
    result = Pair(source, target, object()).transfer("chest,arm", None, Options())
    assert [part["rendered"] for part in result.record["parts"]] == [0, 0]


def test_a_rendered_part_gets_the_mean_colour_of_the_source_and_keeps_its_pattern(draw):
    source, target = (as_subject(draw(seed=seed), 1) for seed in (1, 2))
    ids = (tuple(np.unique(source.labels)[1:3]), tuple(np.unique(target.labels)[1:3]))
    size = tuple(side // 2 for side in target.photo)
    picture = np.full((*size, 3), 100, np.float32)
    picture[::2] += 20
    moved = in_own_colour(picture, ids, (source, target))
    here = scaled(np.isin(target.labels, ids[1]).astype(np.float32), size) > 0.5
    mean = source.rgb[np.isin(source.labels, ids[0])].mean(axis=0)
    np.testing.assert_allclose(moved[here].mean(axis=0), mean, atol=2)
    np.testing.assert_allclose(moved[::2][:10] - moved[1::2][:10], 20, atol=1e-3)
    nothing = ((99,), ids[1])
    assert in_own_colour(picture, nothing, (source, target)) is picture


def test_layers_of_one_picture_are_merged():
    picture, other = np.zeros((2, 2, 3), np.float32), np.zeros((2, 2, 3), np.float32)
    one = np.ones((2, 2), np.float32)
    layers = [
        Layer("a", one),
        *(Layer("b", one, rendered=p) for p in (picture, other, picture)),
        Layer("c", one),
    ]
    done = merged(layers)
    assert [layer.name for layer in done] == ["a", "b", "b", "c"]
    assert [float(layer.weight.mean()) for layer in done] == [1, 2, 1, 1]


def test_all_leaves_what_the_source_hardly_shows(draw, monkeypatch):
    import partswap.transfer.pair as module

    monkeypatch.setattr(module, "render", lambda *_: np.zeros((60, 45, 3), np.uint8))
    source, target = draw(seed=1, left_out="leg"), draw(seed=2)
    source.part_map[5] += 0.02 * source.part_map[4]
    result = Pair(source, target, object()).transfer("all", None, Options())
    assert {"part": "leg", "from": "source", "filled_by": "nothing"} in result.record["missing"]

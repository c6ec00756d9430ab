"""Photos that the net is unsure of, offered to it turned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import partswap
from partswap.clip import steadied
from partswap.imaging import LoadedImage, load_image
from partswap.turning import SURE, confidence, part_maps_in_turns

SIZE = (32, 64)


def maps(foreground: np.ndarray, first: float) -> np.ndarray:
    """Part maps (3, h, w) of two parts, the first with the share `first` of the foreground."""
    return np.stack([1 - foreground, foreground * first, foreground * (1 - first)]).astype(np.float32)


def body(height: int = 20) -> np.ndarray:
    share = np.zeros(SIZE, np.float32)
    share[4 : 4 + height, 5:50] = 0.9
    return share


class Net:
    """As sure as it is told of a lying photo, and of one that was turned so that the head is up."""

    def __init__(self, upright: float, turned: float, seen: Callable[[np.ndarray], np.ndarray] = lambda x: x):
        self.upright, self.turned, self.seen = upright, turned, seen
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.shapes.append(batch.shape)
        out = []
        for photo in batch:
            lying = photo.shape[0] < photo.shape[1]
            if lying:
                out.append(maps(photo[..., 0] / 255, self.upright))
            else:
                # What is on the left of the lying photo is below after one turn and above after three.
                head_up = photo[0, :, 1].mean() > photo[-1, :, 1].mean()
                out.append(maps(self.seen(photo[..., 0] / 255), self.turned if head_up else 0.5))
        return np.stack(out)


@pytest.fixture
def photo() -> np.ndarray:
    """Red is foreground; green marks the head's end, on the left."""
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[..., 0] = (body() * 255).round()
    picture[:, :4, 1] = 255
    return picture


def test_confidence_by_hand():
    part_map = np.zeros((1, 3, 1, 4), np.float32)
    part_map[0, :, 0] = np.array([[0.2, 0.6, 0.2], [0.4, 0.3, 0.3], [0.9, 0.1, 0.0], [0.0, 0.0, 1.0]]).T
    # The third pixel is background; the others have foreground .8, .6 and 1.
    assert confidence(part_map) == pytest.approx([(0.6 + 0.3 + 1.0) / (0.8 + 0.6 + 1.0)])
    nothing = np.zeros((1, 3, 2, 2), np.float32)
    nothing[:, 0] = 1
    assert confidence(nothing) == 1


def test_a_photo_of_somebody_who_lies_is_taken_from_its_better_turn(photo: np.ndarray):
    net = Net(upright=0.5, turned=0.8)
    found = part_maps_in_turns(net, photo[None])
    assert net.shapes == [(1, 32, 64, 3), (1, 64, 32, 3), (1, 64, 32, 3)]
    np.testing.assert_allclose(found[0], maps(photo[..., 0] / 255, 0.8), atol=1e-6)


def test_a_photo_that_the_net_is_sure_of_is_not_turned(photo: np.ndarray):
    net = Net(upright=SURE + 0.01, turned=0.9)
    found = part_maps_in_turns(net, photo[None])
    assert net.shapes == [(1, 32, 64, 3)]
    np.testing.assert_array_equal(found[0], maps(photo[..., 0] / 255, SURE + 0.01))


def test_a_little_surer_is_not_enough(photo: np.ndarray):
    found = part_maps_in_turns(Net(upright=0.52, turned=0.55), photo[None])
    np.testing.assert_array_equal(found[0], maps(photo[..., 0] / 255, 0.52))


def test_a_turn_that_sees_another_body_is_not_believed(photo: np.ndarray):
    flood = Net(upright=0.5, turned=0.9, seen=np.ones_like)
    found = part_maps_in_turns(flood, photo[None])
    np.testing.assert_array_equal(found[0], maps(photo[..., 0] / 255, 0.5))


def test_each_photo_of_a_batch_goes_its_own_way(photo: np.ndarray):
    dark = photo.copy()
    dark[..., 0] = 0  # nobody in it: nothing to turn for
    net = Net(upright=0.5, turned=0.8)
    found = part_maps_in_turns(net, np.stack([dark, photo]))
    assert net.shapes[1:] == [(1, 64, 32, 3)] * 2
    np.testing.assert_array_equal(found[0], maps(dark[..., 0] / 255, 0.5))
    np.testing.assert_allclose(found[1], maps(photo[..., 0] / 255, 0.8), atol=1e-6)


@pytest.fixture(scope="module")
def upright() -> np.ndarray:
    with Image.open(Path(__file__).parents[1] / "examples" / "astronaut.jpg") as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.fixture(scope="module")
def embedded() -> partswap.Model:
    return partswap.load(device="cpu")


def test_the_astronaut_on_her_side_keeps_her_head_and_chest(embedded: partswap.Model, upright: np.ndarray):
    """The embedded model, a photo turned by hand: it must find what it finds in the upright one."""
    expected = embedded.segment(upright)
    lying = np.ascontiguousarray(np.rot90(upright))

    def kept(found: partswap.Segmentation, name: str) -> float:
        mask, truth = np.rot90(found.mask(name), -1), expected.mask(name)
        return (mask & truth).sum() / (mask | truth).sum()

    turned, plain = embedded.segment(lying), embedded.for_frames().segment(lying)
    for name in ("head", "chest"):
        assert kept(turned, name) > 0.9
        assert kept(turned, name) > kept(plain, name) + 0.1


def test_the_frames_of_a_clip_are_not_turned(embedded: partswap.Model, upright: np.ndarray):
    lying = np.ascontiguousarray(np.rot90(upright))

    class OneFrame:
        def frames(self) -> Iterator[LoadedImage]:
            yield load_image(lying)

    (found,) = steadied(embedded, OneFrame())  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.part_map, embedded.for_frames().segment(lying).part_map)
    assert not np.array_equal(found.part_map, embedded.segment(lying).part_map)

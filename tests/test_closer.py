"""Small parts are looked at once more, from near."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from partswap.closer import BELIEVED, looked_at_closer
from partswap.imaging import fit

Run = Callable[[np.ndarray], np.ndarray]
HEAD, BODY = 1, 2
RED, GREEN = (255, 0, 0), (0, 255, 0)


def photo(head: tuple[slice, slice], size: tuple[int, int] = (640, 320)) -> np.ndarray:
    """A green body with a red head before black."""
    rgb = np.zeros((*size, 3), np.uint8)
    rgb[size[0] // 4 : -20, size[1] // 4 : -size[1] // 4] = GREEN
    rgb[head] = RED
    return rgb


def by_colour(batch: np.ndarray) -> np.ndarray:
    """A net that is right: what is red is head, what is green body, all else background."""
    n, h, w, _ = batch.shape
    out = np.empty((n, 3, h, w), np.float32)
    out[:, HEAD], out[:, BODY] = batch[..., 0] / 255, batch[..., 1] / 255
    out[:, 0] = 1 - out[:, 1:].sum(axis=1)
    return out


def seen(rgb: np.ndarray, run: Run, closer=((HEAD,),), far: Run = by_colour):
    """The far part map, and what comes of looking closer."""
    pixels, frame = fit(rgb, 320, 32)
    part_map = far(pixels[None])[0]
    return part_map, looked_at_closer(part_map, rgb, frame, closer, run, 32), frame


@pytest.mark.parametrize(
    "head",
    [
        (slice(100, 160), slice(130, 190)),
        (slice(0, 60), slice(130, 190)),
        (slice(580, 640), slice(260, 320)),
    ],
    ids=["inside", "at the top", "in a corner"],
)
def test_what_is_seen_from_near_lies_where_it_is(head) -> None:
    far, both, _ = seen(photo(head), by_colour)
    assert (both[HEAD] > 0.5).sum() > 600
    assert np.abs(both - far).mean() < 1e-3, "both looks see the same, a pixel's border at most apart"
    assert (both.argmax(axis=0) != far.argmax(axis=0)).mean() < 2e-3


def test_both_looks_count_and_only_about_the_part() -> None:
    def says_body(batch: np.ndarray) -> np.ndarray:
        out = np.zeros((len(batch), 3, *batch.shape[1:3]), np.float32)
        out[:, BODY] = 1
        return out

    far, both, _ = seen(photo((slice(100, 160), slice(130, 190))), says_body)
    assert both[BODY, 65, 80] == pytest.approx(BELIEVED)
    assert both[HEAD, 65, 80] == pytest.approx(1 - BELIEVED)
    np.testing.assert_allclose(both.sum(axis=0), 1, atol=1e-5)
    changed = np.flatnonzero(np.abs(both - far).sum(axis=0).any(axis=1))
    assert changed[0] > 10, "far from the head nothing is new"
    assert changed[-1] < 120
    edge = np.abs(both - far)[0, changed[0], :].max()
    assert edge < 0.2 * BELIEVED, "towards the square's ends it counts less"


def test_the_net_sees_squares_of_whole_strides_enlarged() -> None:
    shapes: list[tuple[int, ...]] = []

    def noting(batch: np.ndarray) -> np.ndarray:
        assert batch.dtype == np.uint8
        assert batch.flags.c_contiguous
        shapes.append(batch.shape)
        return by_colour(batch)

    seen(photo((slice(0, 60), slice(130, 190))), noting)
    ((n, height, width, channels),) = shapes
    assert (n, channels, height) == (1, 3, width)
    assert height % 32 == 0
    reach = 3 * 30 / np.sqrt(np.pi)
    assert abs(height - 2 * 2 * reach) <= 16, "twice as large as in the whole photo"


def test_nothing_is_looked_at_where_there_is_nothing() -> None:
    def never(batch: np.ndarray) -> np.ndarray:
        raise AssertionError("not to be asked")

    small = photo((slice(100, 160), slice(130, 190)))
    for closer, rgb in (((), small), (((HEAD,),), photo((slice(0, 0), slice(0, 0))))):
        far, both, _ = seen(rgb, never, closer)
        assert both is far
    portrait = photo((slice(0, 640), slice(0, 320)))
    far, both, _ = seen(portrait, never)
    assert both is far, "a head that fills the photo is near already"
    far, both, _ = seen(np.zeros((1, 1, 3), np.uint8), never)
    assert both is far


def test_what_the_net_is_unsure_of_and_what_is_coarse_is_not_looked_at() -> None:
    def never(batch: np.ndarray) -> np.ndarray:
        raise AssertionError("not to be asked")

    def unsure(batch: np.ndarray) -> np.ndarray:
        out = by_colour(batch)
        given = 0.52 * out[:, 1:] + 0.48 * out[:, :0:-1]
        return np.concatenate([out[:, :1], given], axis=1)

    rgb = photo((slice(100, 160), slice(130, 190)))
    far, both, _ = seen(rgb, never, far=unsure)
    assert both is far, "from near it would be unsure as well, or lie on its side"
    far, both, _ = seen(np.ascontiguousarray(rgb[::5, ::5]), never)
    assert both is far


@pytest.mark.parametrize("size", [(1, 1), (100, 3000), (3000, 100), (161, 160), (700, 300)])
def test_photos_of_any_shape(size: tuple[int, int]) -> None:
    rgb = np.full((*size, 3), 0, np.uint8)
    rgb[size[0] // 3 : size[0] // 2 + 1, size[1] // 3 : size[1] // 2 + 1] = RED
    rgb[size[0] // 2 + 1 :] = GREEN
    _, both, _ = seen(rgb, by_colour, ((HEAD,), (BODY,)))
    assert both.dtype == np.float32
    np.testing.assert_allclose(both.sum(axis=0), 1, atol=1e-5)


def test_far_part_maps_stay_the_engines() -> None:
    rgb = photo((slice(100, 160), slice(130, 190)))
    pixels, frame = fit(rgb, 320, 32)
    part_map = by_colour(pixels[None])[0]
    part_map.setflags(write=False)
    looked_at_closer(part_map, rgb, frame, ((HEAD,), (BODY,)), lambda batch: by_colour(batch) * 0.5, 32)

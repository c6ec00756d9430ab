"""Many photos at once: order, bounds, errors, and the same results as one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import partswap
from partswap.errors import ImageError
from partswap.pipeline import in_order, segmented


class Counter:
    """How many are between taken and yielded, and the most that ever were."""

    def __init__(self) -> None:
        self.now = self.most = self.taken = 0

    def items(self, count: int) -> Iterator[int]:
        for item in range(count):
            self.now += 1
            self.taken += 1
            self.most = max(self.most, self.now)
            yield item


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as threads:
        yield threads


@pytest.fixture(scope="module")
def models(tiny_checkpoint: Path) -> dict[str, partswap.Model]:
    """The embedded model has its graph with it, so that none is made for the small one."""
    return {
        "onnx": partswap.load(device="cpu", engine="onnx"),
        "torch": partswap.load(tiny_checkpoint, device="cpu", engine="torch"),
    }


def pictures(count: int) -> list[np.ndarray]:
    """Upright, lying and square ones in turn, so that batches of equal shape are not runs of the list."""
    sizes = [(90, 60), (60, 90), (80, 80)]
    draw = np.random.default_rng(0)
    return [
        draw.integers(0, 256, (height // 10, width // 10, 3), np.uint8).repeat(10, 0).repeat(10, 1)
        for height, width in (sizes[i % 3] for i in range(count))
    ]


def test_results_come_in_the_order_of_the_items(pool: ThreadPoolExecutor):
    def work(item: int) -> int:
        time.sleep(0.02 * (item % 4 == 0))  # each fourth is overtaken by those behind it
        return item * item

    got = [(item, future.result()) for item, future in in_order(pool, range(20), work, 6)]
    assert got == [(i, i * i) for i in range(20)]


@pytest.mark.parametrize("ahead", [1, 4])
def test_no_more_than_so_many_are_under_way(pool: ThreadPoolExecutor, ahead: int):
    counter = Counter()
    for _ in in_order(pool, counter.items(30), lambda item: item, ahead):
        counter.now -= 1
    assert counter.taken == 30
    assert counter.most == ahead


def test_an_error_belongs_to_its_item(pool: ThreadPoolExecutor):
    outcomes = list(in_order(pool, [1, 0, 2], lambda item: 2 // item, 2))
    assert [future.exception() is None for _, future in outcomes] == [True, False, True]


def test_closing_gives_up_what_has_not_begun_and_waits_for_what_has():
    begun, ended, gate = [], [], threading.Event()

    def work(item: int) -> None:
        begun.append(item)
        if item:
            gate.wait(5)
        ended.append(item)

    with ThreadPoolExecutor(2) as pool:
        running = in_order(pool, range(50), work, 10)
        next(running)
        threading.Timer(0.1, gate.set).start()
        running.close()
        assert ended == begun or sorted(ended) == sorted(begun)
        assert 1 < len(begun) < 6


@pytest.mark.parametrize("engine", ["onnx", "torch"])  # threads side by side, and batches
def test_many_are_the_same_as_one_by_one(models: dict[str, partswap.Model], engine: str):
    model = models[engine]
    photos = pictures(11)
    many = list(model.segment_many(photos))
    assert len(many) == len(photos)
    for photo, found in zip(photos, many, strict=True):
        one = model.segment(photo)
        assert (found.image.rgb == photo).all()
        assert np.abs(found.part_map - one.part_map).max() < 1e-4
        assert (found.labels == one.labels).mean() > 0.999


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_only_a_few_photos_are_in_memory(models: dict[str, partswap.Model], engine: str):
    counter, photo = Counter(), pictures(1)[0]
    many = models[engine].segment_many(photo for _ in counter.items(60))
    next(many)
    assert counter.taken < 60
    for _ in many:
        counter.now -= 1
    assert counter.taken == 60
    assert counter.most < 40


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_bad_photo_stops_no_other(models: dict[str, partswap.Model], engine: str):
    items: list[object] = [*pictures(4), b"no image", *pictures(4)]
    outcomes = [
        future for _, future in segmented(models[engine], items, lambda x: x, lambda _, found: found, 2)
    ]
    assert [type(future.exception()) for future in outcomes] == [
        *[type(None)] * 4,
        ImageError,
        *[type(None)] * 4,
    ]
    with pytest.raises(ImageError):
        list(models[engine].segment_many(items))


def test_batches_hold_photos_of_one_shape(models: dict[str, partswap.Model], monkeypatch):
    engine, shapes = models["torch"].engine, []
    run = engine.run
    monkeypatch.setattr(engine, "run", lambda batch: (shapes.append(batch.shape), run(batch))[1])
    list(models["torch"].for_frames().segment_many(pictures(8)))
    assert len(shapes) == 3  # one batch a shape, not one a photo
    assert sum(shape[0] for shape in shapes) == 8

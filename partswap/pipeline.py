"""Many photos at once, in their order, few in memory.

On the CPU a photo stays with one thread from its file to its results: measured, a net that runs one photo on
one core costs a third less CPU time than the same net on several, and batches cost more than they save. Other
devices, and PyTorch, get batches of equal shape from the calling thread, while a pool decodes ahead and
encodes behind.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from partswap.engine.threads import net_threads

if TYPE_CHECKING:
    from partswap.engine import Engine
    from partswap.imaging.load import ImageSource, LoadedImage
    from partswap.segmentation import Model, Prepared, Segmentation

__all__ = ["in_order", "segmented"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 2  # photos beyond one a thread: what is slow should not make the others wait at once
_BATCH = 8


def in_order(
    pool: Executor, items: Iterable[Item], work: Callable[[Item], Result], ahead: int
) -> Generator[tuple[Item, Future[Result]], None, None]:
    """Do `work` in the pool's threads and yield each item with its finished future, in the items' order.

    At most `ahead` items (at least 1) are taken and not yet yielded. When the iterator is closed, or an
    exception passes through it, what has not begun is given up, and what has is waited for.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= ahead:
                yield _finished(waiting)
        while waiting:
            yield _finished(waiting)
    finally:
        begun = [future for _, future in waiting if not future.cancel()]
        wait(begun)


def segmented(
    model: Model,
    items: Iterable[Item],
    read: Callable[[Item], ImageSource | LoadedImage],
    then: Callable[[Item, Segmentation], Result],
    threads: int | None = None,
) -> Generator[tuple[Item, Future[Result]], None, None]:
    """Segment what `read` gives for each item and hand it to `then`, both in threads.

    threads: that work at once; None: one for every core that this process may use.

    Yields each item with its finished future, in order: the future gives what `then` returned, or raises what
    came up for this item alone. See `in_order` for what is in memory, and for closing.
    """
    workers = net_threads(threads)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="partswap")
    try:
        if _side_by_side(model.engine):

            def whole(item: Item) -> Result:
                return then(item, model.segment(read(item)))

            yield from in_order(pool, items, whole, workers + _AHEAD)
            return

        def last(run: tuple[Item, Segmentation | BaseException]) -> Result:
            item, found = run
            if isinstance(found, BaseException):
                raise found
            return then(item, found)

        prepared = in_order(pool, items, lambda item: model.prepare(read(item)), _BATCH + workers)
        for (item, _), future in in_order(pool, _run(model, prepared), last, workers + _AHEAD):
            yield item, future
    finally:
        pool.shutdown(cancel_futures=True)


def _side_by_side(engine: Engine) -> bool:
    """Whether several threads should each run the net: PyTorch would start a team of threads for each."""
    return engine.name == "onnx" and engine.device == "cpu"


def _run(
    model: Model, prepared: Iterator[tuple[Item, Future[Prepared]]]
) -> Iterator[tuple[Item, Segmentation | BaseException]]:
    """Run the net over prepared photos, in batches of equal shape; what failed before goes along."""
    while window := list(islice(prepared, _BATCH)):
        out: list[Segmentation | BaseException | None] = [future.exception() for _, future in window]
        shapes: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, (_, future) in enumerate(window):
            if out[index] is None:
                shapes[future.result().pixels.shape].append(index)
        for same in shapes.values():
            ready = [window[index][1].result() for index in same]
            part_maps = model.part_maps(np.stack([each.pixels for each in ready]))
            for index, each, part_map in zip(same, ready, part_maps, strict=True):
                out[index] = model.found(each, part_map)
        for (item, _), found in zip(window, out, strict=True):
            assert found is not None
            yield item, found


def _finished(waiting: deque[tuple[Item, Future[Result]]]) -> tuple[Item, Future[Result]]:
    """The first one, taken out when it is finished (until then closing must still find it there)."""
    wait([waiting[0][1]])
    return waiting.popleft()

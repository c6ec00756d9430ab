"""How a run is stopped: between steps inside the loop, at once everywhere else."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from partswap.errors import PartswapError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(PartswapError):  # noqa: N818 (not an error: somebody asked)
    """The run was asked to stop; what it has on disk is whole."""

    exit_code = 130


@contextmanager
def _handlers(handler: Callable[[int, object], None]) -> Iterator[None]:
    """``handler`` for both signals; only the main thread may set one, elsewhere nothing happens."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.signal(s, handler) for s in SIGNALS}
    try:
        yield
    finally:
        for s, old in before.items():
            signal.signal(s, old)


@contextmanager
def stop_at_once() -> Iterator[None]:
    """SIGINT and SIGTERM end the block, wherever it is, as :class:`Interrupted`.

    Reading photos, estimating masks and making part maps have nothing to save until they are done: they are
    made again, alike.
    Whatever is written is written whole or not at all, so that any moment is a good one.
    """

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt  # no Exception: nothing on the way may take it for a failure of its own

    try:
        with _handlers(stop):
            yield
    except KeyboardInterrupt as error:
        raise Interrupted(
            "stopped; what was saved is whole, the same command with --resume goes on from there."
        ) from error


@contextmanager
def stop_between_steps() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM become a flag to look at between steps."""
    caught: list[int] = []
    with _handlers(lambda number, frame: caught.append(number)):
        yield lambda: bool(caught)

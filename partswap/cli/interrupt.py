"""Ctrl-C and SIGTERM: what runs ends its files, and says how far it came."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

__all__ = ["interruptible"]


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, on its way out as Ctrl-C is."""


@contextmanager
def interruptible(say: Callable[[], str]) -> Iterator[None]:
    """Turn Ctrl-C (exit code 130) and SIGTERM (143) inside the block into what `say` returns, on stderr."""
    main = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
    before = {number: signal.signal(number, _stop) for number in _SIGNALS} if main else {}
    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo(f"interrupted: {say()}", err=True)
        raise typer.Exit(143 if isinstance(error, _Terminated) else 130) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: Any) -> None:
    for each in _SIGNALS:  # a second one ends the process at once, where what has begun takes too long
        signal.signal(each, signal.SIG_DFL)
    raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt

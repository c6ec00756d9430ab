"""Words and progress on stderr; stdout belongs to data."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from partswap.errors import printable

__all__ = ["Voice"]

Item = TypeVar("Item")


class Voice:
    """Speaks on stderr: errors always, words unless quiet, details if verbose, a bar where a person
    watches."""

    def __init__(self, quiet: bool = False, verbose: bool = False, bar: bool = True) -> None:
        """bar: False where lines of data share the terminal with the words."""
        self.quiet = quiet
        self.bar = bar and not quiet
        self.verbose = verbose and not quiet

    def error(self, sentence: object) -> None:
        self._print(f"error: {sentence}")

    def say(self, sentence: str) -> None:
        if not self.quiet:
            self._print(sentence)

    def detail(self, sentence: str) -> None:
        if self.verbose:
            self._print(sentence)

    def track(
        self, items: Iterable[Item], title: str, unit: str = "images", total: int | None = None
    ) -> Iterator[Item]:
        """The items, with a bar that shows how many are done, how fast, and for how long still.

        total: how many there will be, where they have no length.
        """
        total = len(items) if isinstance(items, Sized) else total
        if not self.bar or total == 1 or not sys.stderr.isatty():
            yield from items
            return
        from rich import progress
        from rich.console import Console

        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(),
        )
        # stdout is not redirected: it carries data, and rich would move that to stderr
        console = Console(stderr=True)
        with progress.Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
            task = bar.add_task(title, total=total, rate="")
            start = time.monotonic()
            for done, item in enumerate(items):
                yield item
                rate = (done + 1) / (time.monotonic() - start)
                bar.update(task, completed=done + 1, rate=f"{rate:.1f} {unit}/s")

    def _print(self, text: str) -> None:
        # Under a running bar rich redirects sys.stderr, so that lines appear above it.
        print(printable(text), file=sys.stderr, flush=True)

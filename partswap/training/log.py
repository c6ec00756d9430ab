"""What a run tells: a JSON-lines file, TensorBoard, and a progress bar on stderr."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from partswap.errors import UsageError, printable
from partswap.imaging.save import atomic_write


class RunLog:
    """Writes ``log.jsonl`` and TensorBoard events in a folder, and shows a progress bar.

    Args:
        folder: where the files go; quiet: no bar and no messages.

    Raises:
        UsageError: the folder cannot be made.
    """

    def __init__(self, folder: Path, *, quiet: bool = False) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{folder} cannot be the folder of a run ({error.strerror}); choose another --out."
            ) from error
        self.folder = folder
        self.console = Console(stderr=True, quiet=quiet)
        _end_last_line(folder / "log.jsonl")
        self._file = (folder / "log.jsonl").open("a", encoding="utf-8")
        self._board = _tensorboard(folder)
        if self._board is None:
            self.say("no log for TensorBoard, which is not installed: pip install 'partswap[train]'")
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self._task: TaskID | None = None
        self._said = 0.0

    def __enter__(self) -> RunLog:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._file.close()
        if self._board is not None:
            self._board.close()

    def say(self, words: str) -> None:
        """A line on stderr."""
        self.console.print(printable(words), markup=False, highlight=False)

    def rewind(self, stage: str, step: int) -> None:
        """Take away what a killed run told in ``log.jsonl`` of steps that are done again: those of a stage
        after ``step``."""
        self._file.close()
        path = self.folder / "log.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if not _tells_of(line, stage, step)]
        if len(kept) < len(lines):
            with atomic_write(path) as there:
                there.write_bytes(b"".join(kept))
        self._file = path.open("a", encoding="utf-8")

    def stage(self, name: str) -> None:
        """A new bar."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(name, total=1.0, words="")

    def advance(self, share: float, words: str = "") -> None:
        """Move the bar to ``share`` in [0, 1]; without a terminal, a line every half minute."""
        if self._task is not None:
            self._bar.update(self._task, completed=share, words=words)
        if not self.console.is_terminal and words and time.monotonic() - self._said > 30:
            self._said = time.monotonic()
            self.say(f"{share:4.0%} {words}")

    def record(self, stage: str, step: int, values: dict[str, float], **more: Any) -> None:
        """One line of ``log.jsonl`` and one point per value in TensorBoard."""
        line = {"stage": stage, "step": step, **{k: round(v, 6) for k, v in values.items()}, **more}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(f"{stage}/{key}", value, step)


def _tells_of(line: bytes, stage: str, after: int) -> bool:
    """Whether a line of a log tells of a step of this stage after that one; what is none of ours does not."""
    try:
        told = json.loads(line)
    except ValueError:
        return False
    step = told.get("step") if isinstance(told, dict) and told.get("stage") == stage else None
    return isinstance(step, int) and step > after


def _end_last_line(path: Path) -> None:
    """Take away the half line that a run leaves which is killed while it writes."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        whole = file.read()
        file.truncate(whole.rfind(b"\n") + 1)


def _tensorboard(folder: Path) -> Any | None:
    """A SummaryWriter where tensorboard is installed (the extra ``train``), else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))

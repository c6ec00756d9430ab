"""Runs `partswap` as a real process in a small world of its own, and says what it did wrong there."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forked import as_anybody, waited

__all__ = ["LIMIT", "ROOT", "Ran", "World"]

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 10.0
"""Seconds that a command may take."""

_KILLED_AFTER = 60.0  # other work may share the machine: up to here, CPU time decides
_LEFT_OVER = re.compile(r"\.partswap-[0-9a-f]{12}\.tmp(\..*)?")


@dataclass
class Ran:
    """What a process did.

    code: exit status, negative for a signal, None if it was killed for taking too long. seconds: of the
    clock; cpu: of all its threads. memory: largest, MiB. complaints: what it did wrong.
    """

    words: list[str]
    code: int | None
    seconds: float
    cpu: float
    memory: int
    out: str
    err: str
    made: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def errors(self) -> list[str]:
        """The lines of stderr that are errors."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


class World:
    """A folder with everything that commands may read and write, and snapshots of it.

    inputs: what they read. Each run gets an empty `out` (its working folder) and an empty `tmp`; anything
    else that changes is a complaint, but for the cache of graphs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs = folder / "inputs"
        for name in ("inputs", "home", "cache", "bin", "runs"):
            (folder / name).mkdir()
        self._mine, self._servers = threading.local(), []  # type: ignore[var-annotated]
        self._ghostscript = folder / "home" / "ghostscript-ran"
        fake = folder / "bin" / "gs"
        fake.write_text(f"#!/bin/sh\ntouch '{self._ghostscript}'\nexit 1\n")
        fake.chmod(0o755)

    def environment(self, run: Path) -> dict[str, str]:
        """A home, caches and temporary files of its own; nothing may go to a network."""
        return {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "",
            "HOME": str(self.folder / "home"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "HF_HOME": str(self.folder / "home" / "hf"),
            "HF_HUB_OFFLINE": "1",
            "TMPDIR": str(run / "tmp"),
            "OMP_NUM_THREADS": "1",
        }

    def run(
        self,
        words: Sequence[object],
        limit: float = LIMIT,
        model: Path | None = None,
        fresh: bool = False,
    ) -> Ran:
        """Run `partswap WORDS...`.

        model: is copied to `out/model` first, for a command that writes there. fresh: in a Python of its own;
        else in a copy of one that has imported everything already.
        """
        before = self._snapshot()
        with self._place() as place:
            if model is not None:
                _copy(model, place / "out" / "model")
            given = set(_tree(place))
            ran = self._process([str(word) for word in words], place, limit / LIMIT * _KILLED_AFTER, fresh)
            ran.made = sorted(set(_tree(place)) - given)
        ran.complaints = [*_manners(ran, limit), *self._trespasses(before)]
        return ran

    @contextmanager
    def _place(self) -> Iterator[Path]:
        place = Path(tempfile.mkdtemp(dir=self.folder / "runs"))
        for name in ("out", "tmp"):
            (place / name).mkdir()
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _process(self, words: list[str], place: Path, patience: float, fresh: bool) -> Ran:
        outputs = place / "stdout", place / "stderr"
        if fresh:
            told = self._started(words, place, patience, outputs)
        else:
            if not hasattr(self._mine, "server"):
                self._mine.server = self._server()
            server = self._mine.server
            job = {
                "words": words,
                "patience": patience,
                "folder": str(place / "out"),
                "tmp": str(place / "tmp"),
                "stdout": str(outputs[0]),
                "stderr": str(outputs[1]),
            }
            server.stdin.write(json.dumps(job) + "\n")
            server.stdin.flush()
            told = json.loads(server.stdout.readline())
        out, err = (path.read_bytes().decode(errors="replace") for path in outputs)
        return Ran(words, told["code"], told["seconds"], told["cpu"], told["memory"], out, err)

    def _server(self) -> subprocess.Popen[str]:
        """One for each thread, since it does one job at a time."""
        script = str(Path(__file__).with_name("forked.py"))
        server = subprocess.Popen(
            [sys.executable, script],
            env=self.environment(self.folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._servers.append(server)
        return server

    def _started(
        self, words: list[str], place: Path, patience: float, outputs: tuple[Path, Path]
    ) -> dict[str, Any]:
        start = time.monotonic()
        with outputs[0].open("wb") as out, outputs[1].open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "partswap", *words],
                cwd=place / "out",
                env=self.environment(place),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                preexec_fn=as_anybody,
            )
            code, usage = waited(process.pid, start + patience)
            process.returncode = -9 if code is None else code
        cpu = usage.ru_utime + usage.ru_stime
        return {
            "code": code,
            "seconds": time.monotonic() - start,
            "cpu": cpu,
            "memory": usage.ru_maxrss // 1024,
        }

    def close(self) -> None:
        """Let the processes go that start others."""
        for server in self._servers:
            assert server.stdin is not None
            server.stdin.close()
            server.wait()

    def _trespasses(self, before: dict[str, tuple[object, ...]]) -> Iterator[str]:
        after = self._snapshot()
        for path in sorted(before.keys() | after.keys()):
            if before.get(path) != after.get(path):
                yield f"changed {path!r}, which is not its own"
        if self._ghostscript.exists():
            yield "called Ghostscript"
            self._ghostscript.unlink()

    def _snapshot(self) -> dict[str, tuple[object, ...]]:
        """Everything in the inputs and the home, with what would change if it were written to."""
        found: dict[str, tuple[object, ...]] = {}
        for top in (self.inputs, self.folder / "home"):
            for path in _tree(top):
                about = os.lstat(top / path)
                kept = 0 if stat.S_ISDIR(about.st_mode) else about.st_size
                found[f"{top.name}/{path}"] = (about.st_mode, kept, about.st_mtime_ns, about.st_ino)
        return found


def _manners(ran: Ran, limit: float) -> Iterator[str]:
    if ran.code is None:
        yield f"hung: killed after {ran.seconds:.0f} s, with {ran.cpu:.1f} s of CPU time"
    elif ran.code < 0:
        yield f"died of signal {-ran.code}"
    elif ran.code not in (0, 1, 2, 3):
        yield f"exit code {ran.code}"
    if ran.code is not None and ran.cpu > limit:
        yield f"took {ran.cpu:.1f} s of CPU time"
    if "Traceback" in ran.err:
        yield f"traceback: {ran.err.strip().splitlines()[-1][:200]}"
    if "Warning" in ran.err:
        yield "a Python warning on stderr"
    if any(not (char.isprintable() or char == "\n") for char in ran.err):
        yield "a control character on stderr"
    if left := [name for name in ran.made if _LEFT_OVER.fullmatch(Path(name).name)]:
        yield f"left {left[0]}"
    if left := [name for name in ran.made if name.startswith("tmp/")]:
        yield f"left {left[0]}"


def _tree(folder: Path) -> Iterator[str]:
    """All paths below a folder, relative to it; links are not followed."""
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield os.path.relpath(os.path.join(top, name), folder)


def _copy(model: Path, place: Path) -> None:
    if model.is_dir():
        shutil.copytree(model, place, symlinks=True, copy_function=os.link)
    else:
        os.link(model, place)

"""kill -9 at random moments: what is on the disk is whole or recognisably not, and the run goes on.

Moments are drawn from a seed, over that part of an undisturbed run in which the command works and no longer
imports. Each command is killed `COUNT` times; what it left is looked at after each time, and at the end it is
let run to its end, which has to be the one of a run that nobody disturbed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from sandbox import ROOT

from partswap.cli.app import COMMANDS
from partswap.imaging.load import list_images, load_image
from partswap.imaging.save import is_left_over

__all__ = ["COUNT", "Killed", "killed_commands"]

COUNT = 20
TRAIN = [
    *("--size", "64x64", "--parts", "4", "--batch", "4", "--steps", "30", "--distill-steps", "20"),
    *("--rounds", "1", "--device", "cpu", "--workers", "1", "--save-every", "0.001", "--quiet"),
    *("--backbone", "mobilenetv3_small_050", "--pretrained", "none", "--resume"),
]


@dataclass
class Killed:
    """A command that was killed again and again.

    moments: seconds after its start. complaints: what was half-written and taken for whole, or lost. left:
    which files it leaves behind. then: how it ended when it was let run.
    """

    command: str
    moments: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    left: str = ""
    then: str = ""

    @property
    def count(self) -> int:
        return len(self.moments)


def killed_commands(folder: Path, count: int = COUNT) -> list[Killed]:
    """All four, one after another, in an existing folder."""
    from figures import write_figures

    place = folder / "killed"
    place.mkdir()
    photos, masks = write_figures(place / "drawn", 12)
    found = [_train(place, photos, masks, count), _segment(place, count), _export(place, count)]
    if "models" in COMMANDS:
        found.append(_pull(place, count))
    return found


class _Killer:
    """Starts one command again and again, and kills it."""

    def __init__(self, command: str, words: Sequence[object], place: Path, **environment: str) -> None:
        self.told = Killed(command)
        self.seconds = float("inf")
        self._words = [str(word) for word in words]
        self._random = random.Random(command)
        (place / "tmp").mkdir(exist_ok=True)
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(place / "cache"),
            "TMPDIR": str(place / "tmp"),
            **environment,
        }

    def whole(self, *more: object, **environment: str) -> None:
        """Let it run to its end."""
        start = time.monotonic()
        process = self._start(more, environment)
        _, said = process.communicate()
        if process.returncode:
            self.told.complaints.append(f"did not go on: exit {process.returncode}, {said.strip()[-200:]!r}")
        self.seconds = min(self.seconds, time.monotonic() - start)

    def kill(self, earliest: float, *more: object) -> bool:
        """Kill it at a random moment between `earliest` and the end, as shares of the quickest run so far;
        False if it had ended by then."""
        moment = self.seconds * self._random.uniform(earliest, 1.0)
        start = time.monotonic()
        process = self._start(more, {})
        while time.monotonic() - start < moment and process.poll() is None:
            time.sleep(0.005)
        killed = process.poll() is None
        process.kill()
        said = process.communicate()[1]
        if killed:
            self.told.moments.append(moment)
        elif process.returncode:
            self.told.complaints.append(f"did not go on: exit {process.returncode}, {said.strip()[-200:]!r}")
        else:
            self.seconds = min(self.seconds, time.monotonic() - start)
        print(f"{self.told.command}\tkilled {self.told.count}\tat {moment:.1f}s", file=sys.stderr)
        return killed

    def complain(self, complaints: Iterator[str]) -> None:
        self.told.complaints += complaints

    def _start(self, more: Sequence[object], environment: dict[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "partswap", *self._words, *map(str, more)],
            env={**self._environment, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )


# ---------------------------------------------------------------- train


def _train(place: Path, photos: Path, masks: Path, count: int) -> Killed:
    killer = _Killer("train", ["train", photos, "--masks", masks, *TRAIN], place)
    killer.whole("--out", place / "whole")
    wanted = _digests(place / "whole" / "model", ("model.safetensors",))
    out, ends = place / "run", 0
    while killer.told.count < count:
        killed = killer.kill(0.4, "--out", out)
        killer.complain(_of_run(out))
        if not killed:
            ends += 1
            killer.complain(_unlike(wanted, out / "model"))
            shutil.rmtree(out)
    left = _left_overs(out)
    killer.whole("--out", out)
    killer.complain(_of_run(out))
    killer.complain(_unlike(wanted, out / "model"))
    killer.told.left = f"{left} temporary files before the last run, {_left_overs(out)} after it"
    killer.told.then = f"--resume ended {ends + 1} times, each with the very weights of an undisturbed run"
    return killer.told


def _of_run(out: Path) -> Iterator[str]:
    """What in a run's folder is taken for whole, and is not."""
    from safetensors import SafetensorError, safe_open

    from partswap.checkpoint import read_checkpoint
    from partswap.errors import PartswapError

    state = out / "state" / "state.safetensors"
    try:
        if state.exists():
            with safe_open(state, framework="pt") as file:
                json.loads(file.metadata()["progress"])
                _ = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
        if (out / "model").exists():
            read_checkpoint(out / "model").tensors("student.")
        for sheet in list_images(out / "sheets") if (out / "sheets").exists() else []:
            load_image(sheet)
        lines = (out / "log.jsonl").read_text().split("\n")[:-1] if (out / "log.jsonl").exists() else []
        _ = [json.loads(line) for line in lines]
    except (SafetensorError, PartswapError, OSError, ValueError) as error:
        yield f"half-written: {error}"


# ---------------------------------------------------------------- segment, export-onnx


def _segment(place: Path, count: int) -> Killed:
    photos, out = place / "photos", place / "parts"
    photos.mkdir()
    astronaut = Image.open(ROOT / "examples" / "astronaut.jpg")
    for number in range(24):
        astronaut.crop((number * 4, number * 5, 400 + number * 4, 390 + number * 5)).save(
            photos / f"{number:02d}.png"
        )
    kinds = ["--what", "labels,overlay,cutouts,probabilities", "--device", "cpu"]
    killer = _Killer("segment", ["segment", photos, *kinds], place)
    killer.whole("--out", place / "wanted")
    wanted = _digests(place / "wanted")
    going_on = "--skip-existing" if _has_option("segment", "--skip-existing") else "--overwrite"
    while killer.told.count < count:
        killed = killer.kill(0.1, "--out", out, going_on)
        killer.complain(_foreign(wanted, out))
        if not killed:
            shutil.rmtree(out)
    before = _left_overs(out)
    killer.whole("--out", out, going_on)
    killer.complain(_unlike(wanted, out))
    if any(is_left_over(path) for path in (list_images(out) if out.exists() else [])):
        killer.told.complaints.append("a temporary file is listed among the photos")
    killer.told.left = f"{before} hidden temporary files (.partswap-*.tmp.*), which no command reads"
    killer.told.then = f"the same command with {going_on} made all {len(wanted)} files, equal byte for byte"
    return killer.told


def _export(place: Path, count: int) -> Killed:
    """Two graphs, of the student and of the renderer, each written in one step."""
    out, wanted = place / "graphs", place / "graphs wanted"
    words = ["export-onnx", "--model", place / "whole" / "model", "--overwrite"]
    killer = _Killer("export-onnx", words, place)
    killer.whole("--out", wanted / "graph.onnx")
    names = {path.name for path in wanted.iterdir()}
    while killer.told.count < count:
        killed = killer.kill(0.2, "--out", out / "graph.onnx")
        killer.complain(_of_graphs(out, names, whole=not killed))
    before = _left_overs(out)
    killer.whole("--out", out / "graph.onnx")
    killer.complain(_of_graphs(out, names, whole=True))
    killer.told.left = f"{before} hidden temporary files (.partswap-*.tmp.onnx), which no command reads"
    killer.told.then = "the same command wrote the graphs; older ones stayed whole until then"
    return killer.told


def _of_graphs(folder: Path, names: set[str], whole: bool) -> Iterator[str]:
    import onnx

    there = [path for path in folder.glob("*") if not is_left_over(path)]
    yield from (f"{path.name} is there" for path in there if path.name not in names)
    if whole and {path.name for path in there} != names:
        yield "not all graphs are there in the end"
    for path in there:
        try:
            model = onnx.load(path)
            onnx.checker.check_model(model, full_check=True)
            if "parity" not in {each.key for each in model.metadata_props}:
                yield f"{path.name} was written without its comparison"
        except Exception as error:  # protobuf and the checker raise what they like
            yield f"half-written: {path.name}: {error}"


# ---------------------------------------------------------------- pull


def _pull(place: Path, count: int) -> Killed:
    """From a hub on loopback that is slow, so that moments fall into the transfer."""
    model = ROOT / "weights" / "people"
    files = {path.name: path.read_bytes() for path in model.iterdir() if path.suffix != ".onnx"}
    wanted = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    home = place / "hf"
    with _slow_hub(files) as url:
        killer = _Killer(
            "models pull",
            ["models"],
            place,
            HF_ENDPOINT=url,
            HF_HOME=str(home),
            HF_HUB_DISABLE_XET="1",
            NO_PROXY="127.0.0.1",
        )
        killer.whole("pull", "owner/name")
        shutil.rmtree(home)
        ends = 0
        while killer.told.count < count:
            killed = killer.kill(0.1, "pull", "owner/name")
            killer.complain(_of_cache(home, wanted, whole=not killed))
            if not killed:
                ends += 1
                shutil.rmtree(home)
        left = len(list(home.rglob("*.incomplete")))
        killer.whole("pull", "owner/name")
        killer.complain(_of_cache(home, wanted, whole=True))
        killer.whole("verify", "owner/name", "--device", "cpu", HF_HUB_OFFLINE="1")
        after = len(list(home.rglob("*.incomplete")))
    killer.told.left = f"{left} files called *.incomplete in the client's cache, {after} after the next pull"
    killer.told.then = f"the next pull ended {ends + 1} times with every file whole; models verify agrees"
    return killer.told


@contextmanager
def _slow_hub(files: dict[str, bytes]) -> Iterator[str]:
    sys.path.insert(0, str(ROOT / "tests" / "checkpoint"))
    from card_rules import card_errors
    from hub_server import running_hub

    with running_hub(card_errors) as hub:
        hub.repo("owner/name", files)
        hub.faults["model.safetensors"] = "slow"
        yield hub.url


def _of_cache(home: Path, wanted: dict[str, str], whole: bool) -> Iterator[str]:
    """A file that has its name in a snapshot is whole; the name of a revision comes last of all."""
    found = {path.name: path for path in home.glob("hub/models--owner--name/snapshots/*/*")}
    for name, path in found.items():
        if hashlib.sha256(path.read_bytes()).hexdigest() != wanted[name]:
            yield f"half-written: {name}"
    noted = list(home.glob("hub/models--owner--name/refs/main"))
    if (noted or whole) and set(found) != set(wanted):
        yield f"the revision is noted, and {', '.join(sorted(set(wanted) - set(found)))} is missing"


# ---------------------------------------------------------------- files


def _digests(folder: Path, names: Sequence[str] = ()) -> dict[str, str]:
    """SHA-256 of the files below a folder that are no temporary files."""
    paths = [folder / name for name in names] or [path for path in folder.rglob("*") if path.is_file()]
    paths = [path for path in paths if not is_left_over(path)]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def _unlike(wanted: dict[str, str], folder: Path) -> Iterator[str]:
    """Files that are missing or other than those of an undisturbed run."""
    found = _digests(folder) if folder.exists() else {}
    yield from (f"{name} is not what it would be" for name in wanted if found.get(name) != wanted[name])


def _foreign(wanted: dict[str, str], folder: Path) -> Iterator[str]:
    """Files that are there and not what they will be."""
    found = _digests(folder) if folder.exists() else {}
    yield from (f"half-written: {name}" for name in found if found[name] != wanted.get(name))


def _left_overs(folder: Path) -> int:
    return sum(is_left_over(path) for path in folder.rglob("*"))


def _has_option(command: str, option: str) -> bool:
    words = [sys.executable, "-m", "partswap", command, "--help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return option in subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout

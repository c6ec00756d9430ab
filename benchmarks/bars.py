"""Every bar of speed and memory in one table, from one run.

    python benchmarks/bars.py [--runs 9] [--photos 500] [--only net,process,folder,card]

Times are medians. Engines that are compared take turns, so that whatever else runs on the machine slows both.
The photos are made from examples/. A ratio above 1 is better than the bar.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from folder_bars import make_folder
from net_speed import gflop, matmul_peak, milliseconds, on_the_card
from PIL import Image

from partswap.checkpoint import read_checkpoint, resolve_model

EXAMPLES = Path(__file__).parent.parent / "examples"
SIDE = 800

# A whole process that fails if it was right and yet imported torch. It says on stderr what memory it took:
# what wait4 tells includes the process that started it.
PROGRAM = """
import resource, sys
from pathlib import Path
from partswap.cli.app import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code or 0
try:
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 2**10
except (OSError, IndexError):  # no Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(peak, file=sys.stderr)
sys.exit(code or 77 * ("torch" in sys.modules))
"""


@dataclass(frozen=True)
class Line:
    """A row of the table. more: whether more is better. bar: None for what is only reported."""

    what: str
    value: float
    unit: str
    bar: float | None = None
    more: bool = False

    def __str__(self) -> str:
        found = f"{self.what:<66} {self.value:>9.2f} {self.unit:<10}"
        if self.bar is None:
            return found.rstrip()
        ratio = self.value / self.bar if self.more else self.bar / self.value
        sign = ">=" if self.more else "<="
        return f"{found} bar {sign} {self.bar:<7g} ratio {ratio:5.2f}  {'met' if ratio >= 1 else 'MISSED'}"


def whole_process(words: list[str], runs: int) -> tuple[float, float]:
    """Median seconds and largest MiB of `partswap WORDS` in `runs` runs."""
    seconds, peaks = [], []
    for _ in range(runs):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False
        )
        seconds.append(time.perf_counter() - start)
        if done.returncode:
            raise SystemExit(
                f"partswap {' '.join(words)}: exit {done.returncode} (77: torch was imported)\n{done.stderr}"
            )
        peaks.append(float(done.stderr.splitlines()[-1]))
    return statistics.median(seconds), max(peaks)


def processes(folder: Path, runs: int) -> Iterator[Line]:
    """`--help`, `segment` and `transfer` at 800 px as a stranger starts them; a first run is not counted."""
    seconds, _ = whole_process(["--help"], runs)
    yield Line("partswap --help, no torch", seconds, "s", 0.3)
    photos = []
    for name in ("astronaut", "hopper"):
        image = Image.open(EXAMPLES / f"{name}.jpg").convert("RGB")
        scale = SIDE / max(image.size)
        photos.append(folder / f"{name}.jpg")
        image.resize((round(image.width * scale), round(image.height * scale))).save(photos[-1], quality=92)
    out = ["--out", str(folder / "one"), "--overwrite"]
    whole_process(["segment", str(photos[0]), *out], 1)
    seconds, peak = whole_process(["segment", str(photos[0]), *out], runs)
    yield Line("partswap segment, one photo of 800 px, whole process, no torch", seconds, "s", 1.2)
    yield Line("  its largest resident memory", peak, "MiB", 600)
    words = ["transfer", "--parts", "all", str(photos[1]), str(photos[0]), *out]
    whole_process(words, 1)
    seconds, peak = whole_process(words, runs)
    yield Line("partswap transfer, 800 px, whole process, no torch", seconds, "s", 3)
    yield Line("  its largest resident memory", peak, "MiB")


def nets(runs: int) -> Iterator[Line]:
    """The student alone, both engines; photos of 256x176 are 256x192 to it, which has a stride of 32."""
    checkpoint = read_checkpoint(resolve_model(None))
    peak, work = matmul_peak(), gflop(checkpoint)
    yield Line("float32 matrix product, this machine's peak", peak, "GFLOP/s")
    yield Line("the net, 256x192 (a photo of 256x176), one image", work, "GFLOP")
    for batch, bar in ((1, 40), (8, 25)):
        times = milliseconds(checkpoint, batch, runs)
        yield Line(f"the net alone, ONNX, 256x192, batch {batch}, an image", times["onnx"], "ms", bar)
        share = work / times["onnx"] * 1e3 / peak
        yield Line("  share of the machine's peak", 100 * share, "%")
        yield Line(f"torch eager, the same, batch {batch}", times["torch"], "ms")
        ratio = times["torch"] / times["onnx"]
        yield Line(f"ONNX against torch eager, batch {batch}", ratio, "x faster", 1.5, more=True)
        times = milliseconds(checkpoint, batch, runs, threads=1)  # what other processes disturb least
        ratio = times["torch"] / times["onnx"]
        yield Line("  the same, each on one thread", ratio, "x faster", 1.5, more=True)


def folders(folder: Path, photos: int) -> Iterator[Line]:
    """A folder of JPEGs of 550x830, start of the process included."""
    source = folder / "photos"
    source.mkdir()
    make_folder(source, photos, None)
    for what, bar in (("labels", 15), ("labels,overlay", 8)):
        words = ["segment", str(source), "--what", what, "--out", str(folder / what), "--quiet"]
        seconds, peak = whole_process(words, runs=1)
        yield Line(f"a folder of {photos} JPEGs, {what}", photos / seconds, "images/s", bar, more=True)
        yield Line("  its largest resident memory", peak, "MiB")


def cards() -> Iterator[Line]:
    """The net on an NVIDIA card, where there is one."""
    speed = on_the_card(read_checkpoint(resolve_model(None)))
    if speed is None:
        print("the net on a card, 256x192, batch 64: no GPU here")
    else:
        yield Line("the net on the card, bf16 compiled, batch 64", speed, "images/s", 5000, more=True)


def main() -> None:
    """Print the table, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--only", default="net,process,folder,card")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        groups: dict[str, Callable[[], Iterator[Line]]] = {
            "process": lambda: processes(Path(name), max(1, a.runs // 2)),
            "net": lambda: nets(a.runs),
            "folder": lambda: folders(Path(name), a.photos),
            "card": cards,
        }
        for group in a.only.split(","):
            for line in groups[group]():
                print(line, flush=True)


if __name__ == "__main__":
    main()

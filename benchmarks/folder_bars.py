"""A long folder: images/s, CPU time an image, and resident memory early and late.

    python benchmarks/folder_bars.py [--photos 500] [--folder PHOTOS]

Photos are crops of examples/astronaut.jpg at 550x830, or those of a folder, repeated. Where other work shares
the machine, go by the CPU time an image: images/s can at best be cores / that.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from PIL import Image

EXAMPLE = Path(__file__).parent.parent / "examples" / "astronaut.jpg"
COMMAND = [sys.executable, "-m", "partswap"]


def memory_of(command: list[str], every: float = 0.05) -> list[float]:
    """Resident MiB of a process, sampled until it ends; raises CalledProcessError if it fails."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watched, samples = psutil.Process(process.pid), [0.0]
    while process.poll() is None:
        try:
            samples.append(watched.memory_info().rss / 2**20)
        except psutil.NoSuchProcess:
            break
        time.sleep(every)
    if process.wait() != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return samples


def folder_row(photos: Path, count: int, what: str, out: Path) -> str:
    """Segment a folder; images/s, CPU time and memory of the whole process."""
    cpu, start = sum(psutil.Process().cpu_times()[2:4]), time.perf_counter()
    samples = memory_of([*COMMAND, "segment", str(photos), "--what", what, "--out", str(out)])
    took, cpu = time.perf_counter() - start, sum(psutil.Process().cpu_times()[2:4]) - cpu
    tenth = max(1, len(samples) // 10)
    early, late = max(samples[tenth : 2 * tenth]), max(samples[-tenth:])
    return (
        f"partswap segment, {count} photos, {what}: {count / took:.1f} images/s, "
        f"{1000 * cpu / count:.0f} ms of CPU an image, "
        f"resident {early:.0f} MiB in the second tenth, {late:.0f} MiB in the last"
    )


def make_folder(folder: Path, photos: int, given: Path | None) -> None:
    """The given JPEGs, repeated; else crops of the example at the size of street photos, all different."""
    if given is not None:
        files = sorted(given.glob("*.jpg"))
        for i in range(photos):
            shutil.copy(files[i % len(files)], folder / f"{i:04d}.jpg")
        return
    source = Image.open(EXAMPLE).convert("RGB")
    for i in range(photos):
        left, top = i % 40, (i * 7) % 60
        source.crop((left, top, left + 300, top + 452)).resize((550, 830)).save(
            folder / f"{i:04d}.jpg", quality=90
        )


def main() -> None:
    """Print one line per bar."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="JPEGs to use instead of the example's crops")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = folder / "photos"
        photos.mkdir()
        make_folder(photos, a.photos, a.folder)
        for what in ("labels", "labels,overlay"):
            print(folder_row(photos, a.photos, what, folder / what))


if __name__ == "__main__":
    main()

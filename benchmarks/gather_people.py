"""Lay out the training data of weights/people: one folder of photos and one of masks, validation photos left
out.

    python benchmarks/gather_people.py DATA OUT [--street 800]

DATA holds ``street/`` (with train.txt) and ``exercise/`` (with pairs.csv); OUT gets images/, masks/ and
pairs.csv. With --street only so many of the street photos, spread evenly, for rounds that are about poses.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path


def gather(data: Path, out: Path, most: int | None = None) -> int:
    """Copy the photos and masks that may be trained on, ``most`` street photos; returns how many photos."""
    street = [
        line.strip().zfill(4) for line in (data / "street/train.txt").read_text().splitlines() if line.strip()
    ]
    if most is not None and most < len(street):
        street = [street[i * len(street) // most] for i in range(most)]
    exercise = sorted(p.stem for p in (data / "exercise/images").glob("*.webp"))
    if (out / "images").exists():
        raise SystemExit(
            f"{out}/images is there already; photos of it would be trained on too. Take another."
        )
    for group, stems in (("street", street), ("exercise", exercise)):
        for kind, suffix in (("images", ".webp"), ("masks", ".png")):
            (out / kind / group).mkdir(parents=True, exist_ok=True)
            for stem in stems:
                shutil.copyfile(
                    data / group / kind / f"{stem}{suffix}", out / kind / group / f"{stem}{suffix}"
                )
    shutil.copyfile(data / "exercise/pairs.csv", out / "pairs.csv")
    return len(street) + len(exercise)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--street", type=int, help="at most so many street photos")
    arguments = parser.parse_args()
    if arguments.street is not None and arguments.street < 1:
        parser.error("--street is at least 1")
    print(f"{gather(arguments.data, arguments.out, arguments.street)} photos in {arguments.out}")

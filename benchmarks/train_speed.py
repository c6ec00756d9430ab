"""Images per second through a stage of training, and where the time goes.

    python benchmarks/train_speed.py [--stage 1] [--batch 64] [--size 256x192] [--compile] [--profile]
    OMP_NUM_THREADS=2 python benchmarks/train_speed.py --device cpu --size 128x96 --batch 16 --steps 10

Photos are noise: speed does not depend on what they show. One image counts once, though each step of stage 1
looks at two views of it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from partswap.discovery.train import discovery_stage, fit_anchors, new_model
from partswap.distillation.train import distillation_stage, new_student
from partswap.training.data import PhotoSet
from partswap.training.log import RunLog
from partswap.training.loop import Runner, Stage
from partswap.training.options import PRECISIONS, TrainOptions, parse_size, training_device
from partswap.training.run import Run
from partswap.training.state import Progress


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


def first_stage(run: Run) -> Stage:
    """Discovery with random weights."""
    model = new_model(run)
    fit_anchors(run, model, 64)
    return discovery_stage(run, model)[0]


def second_stage(run: Run) -> Stage:
    """Distillation of part maps of noise."""
    h, w = run.options.size
    shape = (len(run.photos), run.options.parts, h // 4, w // 4)
    targets = torch.randint(0, 256, shape, dtype=torch.uint8, device=run.device)
    return distillation_stage(run, new_student(run), targets, 1)[0]


def main() -> None:
    """Print images per second, peak memory and, if asked, the kernels that took longest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", type=int, choices=(1, 2), default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=parse_size, default=(256, 192))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--profile", action="store_true")
    a = parser.parse_args()
    device = torch.device(training_device(a.device))
    bf16 = a.precision == "bf16" or (a.precision == "auto" and device.type == "cuda")
    with tempfile.TemporaryDirectory() as folder:
        options = TrainOptions(
            data=Path(folder),
            out=Path(folder),
            size=a.size,
            batch=a.batch,
            steps=10_000,
            distill_steps=10_000,
            pretrained="none",
            compile=a.compile,
        )
        log = RunLog(Path(folder), quiet=True)
        runner = Runner(device, 0, torch.bfloat16 if bf16 else torch.float32, log, Path(folder), {})
        run = Run(options, runner, noise_photos(max(64, a.batch), a.size, device), None, None)
        stage = first_stage(run) if a.stage == 1 else second_stage(run)
        progress = Progress(a.stage - 1, step=5_000)  # the middle of a run: every term and view at its full

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
            f"stage {a.stage} batch {a.batch} {a.size[0]}x{a.size[1]} {device} "
            f"{'bf16' if bf16 else 'fp32'} compile={a.compile}: "
            f"{a.steps * a.batch / seconds:.1f} images/s, {1e3 * seconds / a.steps:.1f} ms a step, "
            f"first five steps {first:.1f} s, peak memory {memory:.1f} GiB"
        )
        if a.profile:
            with torch.profiler.profile() as profile:
                steps(5)
            by = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
            print(profile.key_averages().table(sort_by=by, row_limit=22, max_name_column_width=60))


if __name__ == "__main__":
    main()

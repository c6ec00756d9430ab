"""How fast the student runs by itself, and how fast this machine could run it; `bars.py` prints it."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from partswap.engine import open_engine
from partswap.engine.threads import net_threads

if TYPE_CHECKING:
    from partswap.checkpoint import Checkpoint

__all__ = ["gflop", "matmul_peak", "milliseconds", "on_the_card"]

HEIGHT, WIDTH = 256, 192
_SIDE = 2048


def matmul_peak(runs: int = 5) -> float:
    """GFLOP/s of the fastest of some float32 products of 2048x2048 in ONNX Runtime, on as many threads as the
    net gets."""
    import onnxruntime
    from onnx import TensorProto, helper

    shape = [_SIDE, _SIDE]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "abc"]
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "peak", info[:2], info[2:])
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = net_threads()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feeds = {name: np.random.default_rng(0).normal(size=shape).astype(np.float32) for name in "ab"}
    best = min(_seconds(lambda: session.run(None, feeds)) for _ in range(runs))
    return 2 * _SIDE**3 / best / 1e9


def gflop(checkpoint: Checkpoint) -> float:
    """Billions of multiplications and additions for one picture, convolutions only."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from partswap.engine.loading import load_student

    student = load_student(checkpoint)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        student(torch.zeros(1, 3, HEIGHT, WIDTH))
    return counter.get_total_flops() / 1e9


def milliseconds(
    checkpoint: Checkpoint, batch: int, runs: int, threads: int | None = None
) -> dict[str, float]:
    """Engine -> median ms an image on the CPU, the two engines taking turns on as many threads."""
    engines = [open_engine(checkpoint, name, "cpu", net_threads(threads)) for name in ("onnx", "torch")]
    pictures = np.random.default_rng(0).integers(0, 256, (batch, HEIGHT, WIDTH, 3), np.uint8)
    times: dict[str, list[float]] = {engine.name: [] for engine in engines}
    for run in range(runs + 2):
        for engine in engines:
            seconds = _seconds(lambda engine=engine: engine.run(pictures))
            if run >= 2:  # the first two warm up
                times[engine.name].append(seconds * 1e3 / batch)
    return {name: statistics.median(each) for name, each in times.items()}


def on_the_card(checkpoint: Checkpoint, batch: int = 64, runs: int = 50) -> float | None:
    """Images/s of the student with its softmax, in torch: bfloat16, channels_last, compiled, the pictures on
    the card already; None where there is no card."""
    import torch

    from partswap.engine.loading import load_student

    if not torch.cuda.is_available():
        return None
    student = load_student(checkpoint).cuda().to(memory_format=torch.channels_last).bfloat16()
    net = torch.compile(lambda pixels: student(pixels).softmax(1), mode="max-autotune")
    pixels = torch.randn(batch, 3, HEIGHT, WIDTH, device="cuda", dtype=torch.bfloat16)
    pixels = pixels.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for _ in range(10):
            net(pixels)
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(runs):
            net(pixels)
        torch.cuda.synchronize()
    return batch * runs / (time.perf_counter() - start)


def _seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

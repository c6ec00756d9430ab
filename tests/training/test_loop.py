"""The loop: schedule, budget, what broke, stopping, saving."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from partswap.errors import PartswapError
from partswap.training.log import RunLog
from partswap.training.loop import Budget, Runner, Stage, learning_rate
from partswap.training.run import adamw
from partswap.training.state import MovingAverage, Progress, load_state
from partswap.training.stopping import Interrupted, stop_at_once

CPU = torch.device("cpu")


def test_the_learning_rate_warms_up_and_falls_to_a_hundredth() -> None:
    shares = [i / 1000 for i in range(1001)]
    rates = [learning_rate(s) for s in shares]
    assert rates[0] == 0.02
    assert max(rates) == learning_rate(0.03) == 1.0
    assert rates[-1] == pytest.approx(0.01)
    assert rates[:31] == sorted(rates[:31])
    assert rates[31:] == sorted(rates[31:], reverse=True)
    assert learning_rate(0.515) == pytest.approx(0.505)


def test_a_budget_is_of_steps_or_of_seconds() -> None:
    assert Budget(steps=10).share(Progress(0, 5, 1e9)) == 0.5
    assert Budget(steps=10).share(Progress(0, 11)) == 1
    assert Budget(seconds=60).share(Progress(0, 10**9, 15)) == 0.25
    assert Budget(seconds=60).share(Progress(0, 0, 61)) == 1


Step = Callable[[Tensor, torch.Generator, float], tuple[dict[str, Tensor], dict[str, Tensor]]]


class Bench:
    """A stage with one number to learn."""

    def __init__(self, folder: Path, steps: int = 60, **runner: float) -> None:
        self.net = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.net.weight.fill_(5.0)
        self.sheets: list[Path] = []
        self.seen: list[tuple[list[int], float]] = []
        self.runner = Runner(CPU, 0, torch.float32, RunLog(folder, quiet=True), folder, {"o": 1}, **runner)
        optimizer = adamw([{"params": list(self.net.parameters())}], 0.2)
        self.stage = Stage(
            "bench", 0, Budget(steps=steps), 4, 100, self.net, MovingAverage(self.net), self.net,
            [optimizer], self.step, self.sheets.append,
        )  # fmt: skip

    def step(
        self, index: Tensor, g: torch.Generator, share: float
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        self.seen.append((index.tolist(), share))
        loss = (self.net.weight - 1).square().sum()
        return {"square": loss}, {"square": loss.detach()}

    def run(self, progress: Progress | None = None) -> Progress:
        progress = progress or Progress()
        with self.runner.log:
            self.runner.run(self.stage, progress)
        return progress


def test_a_stage_learns_logs_saves_and_shows(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    progress = bench.run()
    assert progress.step == 60
    assert abs(bench.net.weight.item() - 1) < 1
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [25, 50, 60]
    assert lines[0]["stage"] == "bench"
    assert 16 > lines[0]["square"] > 0
    tensors, saved = load_state(bench.runner.state_file, {"o": 1})
    assert saved.step == 60
    assert torch.equal(tensors["model.weight"], bench.net.weight.detach())
    assert bench.sheets == [tmp_path / "sheets" / "bench-000060.jpg"]


def test_a_resumed_stage_draws_what_an_uninterrupted_one_draws(tmp_path: Path) -> None:
    whole, first, second = Bench(tmp_path / "a"), Bench(tmp_path / "b"), Bench(tmp_path / "c")
    whole.run()
    with first.runner.log:
        progress = Progress()
        for _ in range(20):
            first.runner.one_step(first.stage, progress)
            progress.step += 1
        first.runner.save(first.stage, progress)
    tensors, progress = load_state(first.runner.state_file, {"o": 1})
    second.stage.restore(tensors)
    second.run(progress)
    assert first.seen + second.seen == whole.seen
    assert torch.equal(second.net.weight, whole.net.weight)
    assert torch.equal(second.stage.averaged.module.weight, whole.stage.averaged.module.weight)


def test_photos_are_drawn_as_often_as_the_stage_says(tmp_path: Path) -> None:
    bench = Bench(tmp_path, steps=200)
    bench.stage.often = torch.zeros(100)
    bench.stage.often[3], bench.stage.often[60] = 3.0, 1.0
    bench.run()
    drawn = [i for index, _ in bench.seen for i in index]
    assert set(drawn) == {3, 60}
    assert drawn.count(3) / len(drawn) == pytest.approx(0.75, abs=0.05)


def test_what_a_killed_run_told_of_steps_that_are_done_again_is_told_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with bench.runner.log as log:
        log.record("earlier", 75, {"square": 1.0})
        (tmp_path / "log.jsonl").open("ab").write(
            b'somebody else\'s\n[1]\n\n\xff\n{"stage": "bench", "step": "x"}\n'
        )
        for step in (25, 50):
            log.record("bench", step, {"square": 9.0})
    bench = Bench(tmp_path)
    bench.run(Progress(0, 30))
    whole = (tmp_path / "log.jsonl").read_bytes().splitlines()
    assert len(whole) == 9, "what is none of ours is kept"
    lines = [json.loads(line) for line in (whole[0], *whole[6:])]
    assert [(line["stage"], line["step"]) for line in lines] == [
        ("earlier", 75), ("bench", 25), ("bench", 50), ("bench", 60)
    ]  # fmt: skip
    assert lines[1]["square"] == 9
    assert lines[2]["square"] < 9


def breaks_at(bench: Bench, step: int, name: str) -> Step:
    def broken(
        index: Tensor, g: torch.Generator, share: float
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        losses, values = bench.step(index, g, share)
        bad = torch.tensor(float("nan") if len(bench.seen) == step else 0.0)
        return {**losses, name: bad + 0 * losses["square"]}, values

    return broken


def test_a_nan_stops_the_run_and_names_the_step_and_the_term(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.stage.step = breaks_at(bench, 31, "gmrf")
    with pytest.raises(PartswapError, match="bench broke at step 31: gmrf is not finite") as raised:
        bench.run()
    assert "lower --rate" in str(raised.value)
    bench = Bench(tmp_path / "bf16")
    bench.stage.step = breaks_at(bench, 31, "gmrf")
    bench.runner.precision = torch.bfloat16
    with pytest.raises(PartswapError, match="resume from the last state with --precision fp32"):
        bench.run()
    assert len(bench.seen) <= 50


def test_a_broken_state_never_replaces_a_sound_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, save_every=0.0)  # after every step
    bench.stage.step = breaks_at(bench, 31, "gmrf")
    with pytest.raises(PartswapError, match="step 31: gmrf"):
        bench.run()
    tensors, progress = load_state(bench.runner.state_file, {"o": 1})
    assert progress.step == 30
    assert torch.isfinite(tensors["model.weight"]).all()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_between_steps_with_the_state_saved(tmp_path: Path, number: signal.Signals) -> None:
    bench = Bench(tmp_path)
    plain = bench.step

    def interrupted(
        index: Tensor, g: torch.Generator, share: float
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        if len(bench.seen) == 7:
            os.kill(os.getpid(), number)
        return plain(index, g, share)

    bench.stage.step = interrupted
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="--resume") as raised:
        bench.run()
    assert raised.value.exit_code == 130
    assert load_state(bench.runner.state_file, {"o": 1})[1].step == 8
    assert signal.getsignal(number) is before


def test_a_signal_during_the_last_step_is_not_lost(tmp_path: Path) -> None:
    bench = Bench(tmp_path, steps=8)
    plain = bench.step

    def interrupted(*words: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        if len(bench.seen) == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(*words)

    bench.stage.step = interrupted
    with pytest.raises(Interrupted):
        bench.run()
    assert load_state(bench.runner.state_file, {"o": 1})[1].step == 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_outside_the_loop_a_signal_ends_the_run_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    def nothing_catches() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except Exception:  # the signal must not be taken for a failure of what it interrupts
            pytest.fail("caught on the way")

    with pytest.raises(Interrupted) as raised, stop_at_once():
        nothing_catches()
    assert raised.value.exit_code == 130
    assert signal.getsignal(number) is before


def test_gradients_are_clipped_and_the_schedule_scales_every_groups_own_rate(tmp_path: Path) -> None:
    bench = Bench(tmp_path, steps=100)
    bench.runner.one_step(bench.stage, Progress(0, 50))
    group = bench.stage.optimizers[0].param_groups[0]
    assert group["lr"] == pytest.approx(0.2 * learning_rate(0.5))
    assert bench.net.weight.grad.norm() <= 5.0 + 1e-4

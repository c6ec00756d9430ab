"""Whole runs: the same seed gives the same weights, whatever stopped the run in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

Words = Callable[..., list[str]]
LONG = ("--steps", 14, "--distill-steps", 10)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(str(run / "model" / "model.safetensors"))


def assert_same(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert set(first) == set(second)
    different = [k for k in first if not torch.equal(first[k], second[k])]
    assert not different, f"{len(different)} of {len(first)} tensors differ, the first: {different[0]}"


def start(words: list[str]) -> subprocess.Popen[str]:
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    command = [sys.executable, "-c", "from partswap.cli.app import main; main()", *words]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def metadata_of(state: Path) -> dict[str, str]:
    """From one open file: safetensors itself opens it twice, and the run may replace it in between."""
    with state.open("rb") as file:
        header: dict[str, dict[str, str]] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return header["__metadata__"]


def wait_for_state(process: subprocess.Popen[str], out: Path, stage: int) -> None:
    """Until a state of this stage is on disk; the process must still be at work then."""
    state = out / "state" / "state.safetensors"
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if state.exists() and json.loads(metadata_of(state)["progress"])["stage"] >= stage:
            assert process.poll() is None, "the run ended before it could be stopped"
            return
        if process.poll() is not None:
            pytest.fail(f"the run ended by itself: {process.communicate()[1]}")
        time.sleep(0.02)
    process.kill()
    pytest.fail("no state within two minutes")


@pytest.fixture(scope="module")
def whole(drawn: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    from partswap.cli.app import main

    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.raises(SystemExit) as ended:
        main(drawn.words(out, *LONG))
    assert not ended.value.code
    return out


def test_the_same_seed_gives_the_same_weights(
    whole: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    assert cli(*run_words(tmp_path / "again", *LONG)).code == 0
    assert_same(whole, tmp_path / "again")


def test_another_seed_gives_other_weights(run_words: Words, tmp_path: Path, cli: Any) -> None:
    short = ("--steps", 1, "--distill-steps", 1)
    for seed in (0, 1):
        assert cli(*run_words(tmp_path / str(seed), *short, "--seed", seed)).code == 0
    first, second = weights(tmp_path / "0"), weights(tmp_path / "1")
    assert any(not torch.equal(first[k], second[k]) for k in first)


def test_killed_and_resumed_equals_uninterrupted(
    whole: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    out = tmp_path / "run"
    process = start(run_words(out, *LONG, "--save-every", 0.001))
    wait_for_state(process, out, 0)
    process.send_signal(signal.SIGKILL)
    assert process.wait(20) == -signal.SIGKILL
    assert not (out / "model").exists()
    assert cli(*run_words(out, *LONG, "--resume")).code == 0
    assert_same(whole, out)


def test_sigterm_saves_and_exits_130_and_resuming_goes_on(
    whole: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    out = tmp_path / "run"
    process = start(run_words(out, *LONG, "--save-every", 0.001))
    wait_for_state(process, out, 1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in said
    assert "Traceback" not in said
    refused = cli(*run_words(out, *LONG))
    assert refused.code == 2
    assert "--resume" in refused.err
    other = cli(*run_words(out, *LONG, "--resume", "--parts", 5))
    assert other.code == 2
    assert "parts (was 4, now 5)" in other.err
    assert cli(*run_words(out, *LONG, "--resume")).code == 0
    assert_same(whole, out)


def test_a_finished_run_can_be_resumed_and_stays_what_it_is(whole: Path, run_words: Words, cli: Any) -> None:
    before = weights(whole)
    assert cli(*run_words(whole, *LONG, "--resume")).code == 0
    after = weights(whole)
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_a_run_leaves_a_log_sheets_and_a_model_with_its_record(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"discovery", "distillation1"}
    discovery = next(line for line in lines if line["stage"] == "discovery")
    terms = {"reconstruction", "perceptual", "variational", "adversarial", "gmrf", "entropy", "equivariance"}
    assert terms <= set(discovery)
    assert {p.name for p in (whole / "sheets").iterdir()} == {
        "discovery-000014.jpg",
        "distillation1-000010.jpg",
    }
    config = json.loads((whole / "model" / "config.json").read_text())
    assert config["parts"] == 4
    assert config["training"]["pretrained"] == "none"
    assert config["training"]["steps"] == 14
    assert config["training"]["photos"] == 12
    assert str(Path(__file__).parents[2]) not in json.dumps(config)


def test_the_model_is_ready_to_be_shared(whole: Path) -> None:
    from partswap.checkpoint.card import card_scores, check_card, read_card
    from partswap.verification import verify

    folder = whole / "model"
    assert check_card(folder) == []
    (score,) = card_scores(read_card(folder))
    assert score["metric"] == "mirror_agreement"
    assert 0 <= score["value"] <= 1
    assert [check.good for check in verify(folder, "torch", "cpu")] == [True] * 5

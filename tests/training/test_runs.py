"""Whole runs: the same seed gives the same weights, whatever stopped the run in between."""

from __future__ import annotations

import importlib
import itertools
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
from safetensors.torch import load_file, save_file

from partswap.checkpoint import read_checkpoint, write_parts
from partswap.discovery.terms import ABLATION_ROWS, ADDED_TERMS
from partswap.nets.encoder import Encoder

Words = Callable[..., list[str]]
LONG = ("--steps", 14, "--distill-steps", 10)
TWO_ROUNDS = ("--steps", 5, "--distill-steps", 4, "--rounds", 2)


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


def uninterrupted(drawn: Any, factory: pytest.TempPathFactory, steps: tuple[object, ...]) -> Path:
    from partswap.cli.app import main

    out = factory.mktemp("whole") / "run"
    with pytest.raises(SystemExit) as ended:
        main(drawn.words(out, *steps))
    assert not ended.value.code
    return out


@pytest.fixture(scope="module")
def whole(drawn: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    return uninterrupted(drawn, tmp_path_factory, LONG)


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


class Died(BaseException):
    """Stands for a kill: nothing of ours catches it or cleans up after it."""


PLACES = {
    "masks": ("partswap.discovery.train.estimate_masks", 1),
    "discovery": ("partswap.discovery.train.discovery_losses", 4),
    "part maps 1": ("partswap.distillation.train.part_targets", 1),
    "round 1": ("partswap.distillation.train.distillation_losses", 3),
    "part maps 2": ("partswap.distillation.train.part_targets", 2),
    "round 2": ("partswap.distillation.train.distillation_losses", 7),
}
"""By stage: the function in whose call number N a run is stopped."""


@pytest.fixture(scope="module")
def two_rounds(drawn: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two rounds that nothing stopped."""
    return uninterrupted(drawn, tmp_path_factory, TWO_ROUNDS)


def stop_at(monkeypatch: pytest.MonkeyPatch, place: str, how: Callable[[], None]) -> None:
    name, call = PLACES[place]
    module, _, attribute = name.rpartition(".")
    real = getattr(importlib.import_module(module), attribute)
    calls = itertools.count(1)

    def stopped(*words: Any, **more: Any) -> Any:
        if next(calls) == call:
            how()
        return real(*words, **more)

    monkeypatch.setattr(name, stopped)


@pytest.mark.parametrize("place", [p for p in PLACES if p != "masks"])
def test_dying_in_any_stage_and_resuming_gives_the_same_weights(
    two_rounds: Path, run_words: Words, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    from partswap.cli.app import main

    def die() -> None:
        raise Died

    words = run_words(tmp_path / "run", *TWO_ROUNDS, "--save-every", 0.001)
    with monkeypatch.context() as patch:
        stop_at(patch, place, die)
        with pytest.raises(Died):
            main(words)
    assert not (tmp_path / "run" / "model").exists()
    assert cli(*words, "--resume").code == 0
    assert_same(two_rounds, tmp_path / "run")


@pytest.mark.parametrize("place", ["masks", "discovery", "part maps 1", "part maps 2"])
def test_sigterm_in_any_stage_exits_130_and_leaves_nothing_half_written(
    drawn: Any, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    out = tmp_path / "run"
    words = drawn.words(out, *TWO_ROUNDS)
    if place == "masks":
        at = words.index("--masks")
        del words[at : at + 2]
    with monkeypatch.context() as patch:
        stop_at(patch, place, lambda: os.kill(os.getpid(), signal.SIGTERM))
        ended = cli(*words)
    assert ended.code == 130
    assert "--resume" in ended.err
    assert not (out / "model").exists()
    files = {p.name for p in out.rglob("*") if p.is_file() and p.parent.name in ("run", "state")}
    expected = {"log.jsonl"} if place == "masks" else {"log.jsonl", "state.safetensors"}
    # those of the round before
    assert files == expected | ({"part_maps-1.npz"} if place == "part maps 2" else set())


def test_a_run_stopped_while_it_estimates_masks_gives_the_same_weights_resumed(
    drawn: Any, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def words(out: str) -> list[str]:
        found: list[str] = drawn.words(tmp_path / out, "--steps", 2, "--distill-steps", 2)
        at = found.index("--masks")
        return found[:at] + found[at + 2 :]

    assert cli(*words("whole")).code == 0
    with monkeypatch.context() as patch:
        stop_at(patch, "masks", lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert cli(*words("run")).code == 130
    assert cli(*words("run"), "--resume").code == 0
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_a_resumed_run_must_repeat_what_shapes_its_weights(
    run_words: Words, tmp_path: Path, cli: Any, drawn: Any
) -> None:
    short = ("--steps", 1, "--distill-steps", 1)
    out = tmp_path / "run"
    assert cli(*run_words(out, *short)).code == 0
    pairs = tmp_path / "pairs.csv"
    names = sorted(p.name for p in drawn.photos.iterdir())
    pairs.write_text("group,file\n" + "".join(f"{i // 2},{name}\n" for i, name in enumerate(names)))
    donor = tmp_path / "donor.safetensors"
    save_file(Encoder("mobilenetv3_small_050").body.state_dict(), str(donor))
    for more, said in (
        (("--pretrained", donor), "pretrained (was 'none', now 'donor.safetensors')"),
        (("--pairs", pairs), "pairs (was None, now 'pairs.csv')"),
        (("--group-by", "folder"), "group_by (was None, now 'folder')"),
    ):
        refused = cli(*run_words(out, *short, "--resume", *more))
        assert refused.code == 2
        assert said in refused.err
    (tmp_path / "fewer").mkdir()
    for name in names[:-1]:
        (tmp_path / "fewer" / name).write_bytes((drawn.photos / name).read_bytes())
    words = [str(tmp_path / "fewer") if w == str(drawn.photos) else w for w in run_words(out, *short)]
    refused = cli(*words, "--resume")
    assert refused.code == 2
    assert "photos (was '12 photos, " in refused.err


@pytest.mark.parametrize("row", list(ABLATION_ROWS))
def test_every_row_of_the_papers_ablation_runs_and_its_terms_are_in_the_log(
    run_words: Words, tmp_path: Path, cli: Any, row: str
) -> None:
    short = ("--steps", 2, "--distill-steps", 1, "--terms", row, "--without", ",".join(ADDED_TERMS))
    assert cli(*run_words(tmp_path / "run", *short)).code == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    discovery = next(line for line in lines if line["stage"] == "discovery")
    # Terms that are off are watched where that costs nothing; the critic plays only where it is used.
    assert {"reconstruction", "perceptual", "variational", "gmrf", "entropy", "equivariance"} <= set(
        discovery
    )
    for name in ("adversarial", "critic"):
        assert (name in discovery) == ("adversarial" in ABLATION_ROWS[row])
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["training"]["row"] == row


def test_a_finished_run_can_be_resumed_and_stays_what_it_is(whole: Path, run_words: Words, cli: Any) -> None:
    before = weights(whole)
    parts = read_checkpoint(whole / "model").parts
    write_parts(whole / "model", parts.renamed({1: "wing"}))
    assert cli(*run_words(whole, *LONG, "--resume")).code == 0
    assert read_checkpoint(whole / "model").parts.name(1) == "wing", "somebody's names are not taken away"
    write_parts(whole / "model", parts)
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

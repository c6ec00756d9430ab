"""Part maps are kept: a resumed run does not see all photos again, and gives the same weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from partswap.training import refine

Words = Callable[..., list[str]]
FILE = "part_maps-1.npz"
SHORT = ("--steps", 2, "--distill-steps", 3)


@pytest.fixture(scope="module")
def whole(drawn: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, and its model refined, that nothing stopped."""
    from partswap.cli.app import main

    folder = tmp_path_factory.mktemp("kept")
    for out, more in (
        ("run", ()),
        ("refined", ("--refine", folder / "run" / "model", "--limbs", "1=0", "--plain")),
    ):
        with pytest.raises(SystemExit) as ended:
            main(drawn.words(folder / out, *SHORT, *more))
        assert not ended.value.code
    return folder


def never(*words: object, **more: object) -> None:
    raise AssertionError("seen again")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(str(run / "model" / "model.safetensors"))


def resumed_equals(uninterrupted: Path, run: Path, words: list[str], cli: Any) -> None:
    """Go on with a run, which then has the weights of one that nothing stopped."""
    ended = cli(*words, "--resume")
    assert ended.code == 0, ended.err
    before, after = weights(uninterrupted), weights(run)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def stopped_at(step: int, run: Path, words: list[str], cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a run as one that is stopped in its round."""
    from partswap.training.loop import Interrupted, Runner

    real = Runner.one_step

    def stop(self: Runner, stage: Any, progress: Any) -> Any:
        if stage.name == "distillation1" and progress.step == step:
            self.save(stage, progress)
            raise Interrupted("stopped")
        return real(self, stage, progress)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "one_step", stop)
        assert cli(*words).code == 130
    assert (run / "state" / FILE).exists()
    assert not list((run / "state").glob(".partswap*"))


@pytest.mark.parametrize("step", [0, 1])
def test_a_resumed_run_has_its_part_maps(
    whole: Path, run_words: Words, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    run = tmp_path / "run"
    words = run_words(run, *SHORT)
    stopped_at(step, run, words, cli, monkeypatch)
    monkeypatch.setattr("partswap.distillation.train.part_targets", never)
    resumed_equals(whole / "run", run, words, cli)


def test_so_has_a_resumed_refinement_and_the_foreground_too(
    whole: Path, run_words: Words, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    words = run_words(run, *SHORT, "--refine", whole / "run" / "model", "--limbs", "1=0", "--plain")
    stopped_at(1, run, words, cli, monkeypatch)
    for name in ("own_part_maps", "own_foreground", "differing"):
        monkeypatch.setattr(refine, name, never)
    resumed_equals(whole / "refined", run, words, cli)


@pytest.mark.parametrize("harm", ["cut", "another's", "empty", "gone"])
def test_what_cannot_be_used_is_computed_again(
    whole: Path, run_words: Words, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    run = tmp_path / "run"
    words = run_words(run, *SHORT)
    stopped_at(1, run, words, cli, monkeypatch)
    file = run / "state" / FILE
    if harm == "another's":
        shutil.copyfile(whole / "refined" / "state" / FILE, file)
    elif harm == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: 0 if harm == "empty" else -200])
    resumed_equals(whole / "run", run, words, cli)


def test_a_run_that_starts_anew_takes_nothing_from_what_lay_there(
    whole: Path, run_words: Words, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    (run / "state").mkdir(parents=True)
    shutil.copyfile(whole / "run" / "state" / FILE, run / "state" / FILE)
    monkeypatch.setattr("partswap.distillation.train.part_targets", never)
    with pytest.raises(AssertionError, match="seen again"):
        cli(*run_words(run, *SHORT))


@pytest.mark.parametrize("other", ["masks", "model"])
def test_what_was_made_of_other_masks_or_by_another_model_is_not_taken(
    whole: Path,
    drawn: Any,
    run_words: Words,
    tmp_path: Path,
    cli: Any,
    monkeypatch: pytest.MonkeyPatch,
    other: str,
) -> None:
    """A run that was stopped before its first step has no state that would tell its options."""
    run, masks = tmp_path / "run", tmp_path / "masks"
    shutil.copytree(drawn.masks, masks)
    model = whole / "run" / "model"

    def words(of: Path) -> list[str]:
        return run_words(run, *SHORT, "--refine", of, "--masks", masks)

    stopped_at(0, run, words(model), cli, monkeypatch)
    (run / "state" / "state.safetensors").unlink()
    if other == "masks":
        shutil.copyfile(sorted(masks.iterdir())[0], sorted(masks.iterdir())[1])
    else:
        model = whole / "refined" / "model"
    monkeypatch.setattr(refine, "own_part_maps", never)
    with pytest.raises(AssertionError, match="seen again"):
        cli(*words(model), "--resume")

"""`train --refine`: a finished model goes on, with or without discovering its parts again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from partswap.checkpoint import read_checkpoint, write_parts
from partswap.checkpoint.config import HangingLimb
from partswap.distillation.differing import differing, how_often
from partswap.engine.loading import load_student
from partswap.errors import UsageError
from partswap.nets.encoder import Encoder
from partswap.training import part_maps, refine
from partswap.training.data import PhotoSet
from partswap.training.limbs import Limb
from partswap.training.part_maps import own_part_maps
from partswap.training.refine import remembered
from partswap.training.run import Run

Words = Callable[..., list[str]]


@pytest.fixture(scope="module")
def finished(drawn: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a named part."""
    from partswap.cli.app import main

    out = tmp_path_factory.mktemp("finished") / "run"
    with pytest.raises(SystemExit) as ended:
        main(drawn.words(out))
    assert not ended.value.code
    model = out / "model"
    write_parts(model, read_checkpoint(model).parts.renamed({2: "arm"}))
    return model


def without(words: list[str], option: str) -> list[str]:
    """Words without an option and its value."""
    at = words.index(option)
    return [*words[:at], *words[at + 2 :]]


def refined(run_words: Words, cli: Any, out: Path, model: Path, *more: object) -> Any:
    ended = cli(*run_words(out, "--refine", model, *more))
    assert ended.code == 0, ended.err
    return read_checkpoint(out / "model")


def test_refining_keeps_names_and_renderer_and_records_where_it_came_from(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    before = read_checkpoint(finished)
    after = refined(run_words, cli, tmp_path / "a", finished)
    assert after.parts == before.parts
    assert after.revision != before.revision
    old, new = before.tensors("renderer."), after.tensors("renderer.")
    assert all(torch.equal(old[k], new[k]) for k in old)
    again = refined(run_words, cli, tmp_path / "b", tmp_path / "a" / "model")
    assert [r["from"] for r in again.config.training["refined"]] == [before.revision, after.revision]


def test_regrouping_trains_the_renderer_too_and_keeps_names(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    before = read_checkpoint(finished)
    after = refined(run_words, cli, tmp_path / "run", finished, "--regroup", "--view-size", "64x64")
    assert after.parts == before.parts
    old, new = before.tensors("renderer."), after.tensors("renderer.")
    assert any(not torch.equal(old[k], new[k]) for k in old)
    assert list((tmp_path / "run" / "sheets").glob("renderer-*.jpg"))


def test_refining_without_masks_uses_the_model_s_own_foreground(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    ended = cli(*without(run_words(tmp_path / "run", "--refine", finished), "--masks"))
    assert ended.code == 0, ended.err
    read_checkpoint(tmp_path / "run" / "model")


def test_regrouping_needs_a_model(run_words: Words, tmp_path: Path, cli: Any) -> None:
    ended = cli(*run_words(tmp_path / "run", "--regroup"))
    assert ended.code == 2
    assert "--refine" in ended.err
    assert not (tmp_path / "run").exists()


def test_the_model_remembers_where_limbs_lie_and_where_never(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    told = refined(run_words, cli, first, finished, "--limbs", "arm=0:never=3+1")
    assert told.config.limbs == (HangingLimb((2,), (1, 3)),)
    assert refined(run_words, cli, second, first / "model").config.limbs == told.config.limbs
    before = refined(
        run_words, cli, tmp_path / "before", finished, "--limbs", "arm=0:before=1:bare=3:once=3+1"
    )
    assert before.config.limbs == (HangingLimb((2,), before=(1,), bare=(3,), once=((3,), (1,))),)
    others = refined(run_words, cli, tmp_path / "others", first / "model", "--regroup")
    assert others.config.limbs == (), "its parts are new ones"


def test_what_was_told_of_a_limb_is_added_to_what_is_remembered() -> None:
    before = (HangingLimb((2,), (1,), (4,), (3,), ((5,),)), HangingLimb((6,), (1,)))
    assert remembered((), before) == before
    assert remembered((Limb((2,), 0.0), Limb((2,), 0.0, before=(4, 5))), before) == before
    arm, other = remembered((Limb((2,), 0.0, before=(1,), bare=(4,)),), before)
    assert (arm, other) == (HangingLimb((2,), (1,), (1,), (4,), ((5,),)), before[1])
    arm, other, new = remembered((Limb((2,), 9.0, never=(7,)), Limb((7,), 0.0, once=((1,),))), before)
    assert (arm, other) == (HangingLimb((2,), (7,), (4,), (3,), ((5,),)), before[1])
    assert new == HangingLimb((7,), once=((1,),))
    many = [HangingLimb((part,), (99,)) for part in range(3, 19)]
    assert len(remembered((Limb((3,), 0.0, never=(98,)),), many)) == 16
    with pytest.raises(UsageError, match="17 limbs"):
        remembered((Limb((2,), 0.0, never=(98,)),), many)


def test_moved_limbs_are_named_and_recorded(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    plain = refined(run_words, cli, tmp_path / "plain", finished).tensors("student.")
    after = refined(run_words, cli, tmp_path / "moved", finished, "--limbs", "arm=90")
    assert after.config.training["refined"][-1]["limbs"] == "arm=90"
    assert any(not torch.equal(plain[k], v) for k, v in after.tensors("student.").items())
    still = refined(run_words, cli, tmp_path / "still", finished, "--limbs", "arm=0").tensors("student.")
    assert any(not torch.equal(plain[k], v) for k, v in still.items()), "not moved, but one appearance"
    assert after.config.limbs == ()
    ended = cli(*run_words(tmp_path / "bad", "--refine", finished, "--limbs", "wing"))
    assert (ended.code, "wing" in ended.err) == (2, True)
    ended = cli(*run_words(tmp_path / "bad", "--limbs", "arm"))
    assert (ended.code, "--refine" in ended.err) == (2, True)
    ended = cli(*run_words(tmp_path / "bad", "--refine", finished, "--regroup", "--limbs", "arm"))
    assert (ended.code, "--regroup" in ended.err) == (2, True)
    assert not (tmp_path / "bad").exists()


def test_keeping_half_of_the_weights_averages_them(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    """Not of two runs, but of two files: the same run with and without --keep."""
    old = read_checkpoint(finished).tensors("student.")
    new = refined(run_words, cli, tmp_path / "new", finished).tensors("student.")
    both = refined(run_words, cli, tmp_path / "both", finished, "--keep", 0.5).tensors("student.")
    assert any(not torch.equal(old[k], new[k]) for k in old)
    for name in old:
        torch.testing.assert_close(both[name], (old[name] + new[name]) / 2, atol=2e-3, rtol=2e-3)


def test_parts_are_drawn_as_they_look_from_near(
    finished: Path, drawn: Any, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    words = ["parts", "near", drawn.photos, "--model", finished, "--size", "96x64", "--into", 3]
    ended = cli(*words, "--parts", "1,3,4", "--out", tmp_path / "near", "--device", "cpu")
    assert ended.code == 0, ended.err
    assert Image.open(tmp_path / "near.png").size[0] > 100
    ended = cli(*words, "--parts", "1,3,4", "--out", tmp_path / "near", "--device", "cpu")
    assert (ended.code, "--overwrite" in ended.err) == (2, True)
    for wrong in (
        ["--out", "/"],
        ["--out", tmp_path / "n", "--size", "0x64"],
        ["--out", tmp_path / "n", "--seed", 2**70],
    ):
        assert cli(*words[:5], "--parts", "1", "--into", 3, *wrong).code == 2
    some = Path(shutil.copytree(drawn.photos, tmp_path / "some"))
    (some / "broken.png").write_bytes(b"no image")
    ended = cli(
        *words[:2], some, *words[3:], "--parts", "1,3,4", "--out", tmp_path / "others", "--device", "cpu"
    )
    assert (ended.code, "broken.png" in ended.err) == (1, True)
    assert (tmp_path / "others.safetensors").exists(), "one that cannot be read costs no more than itself"
    said = f"{tmp_path}/near.safetensors:1+2=arm,3=3"
    after = refined(run_words, cli, tmp_path / "drawn", finished, "--near", said)
    assert after.config.training["refined"][-1]["near"] == "1+2=arm,3=3"
    plain = refined(run_words, cli, tmp_path / "plain", finished).tensors("student.")
    assert any(not torch.equal(plain[k], v) for k, v in after.tensors("student.").items())
    ended = cli(*run_words(tmp_path / "bad", "--refine", tmp_path / "drawn" / "model", "--near", said))
    assert (ended.code, "was found by the model" in ended.err) == (2, True)
    ended = cli(*run_words(tmp_path / "bad", "--near", said))
    assert (ended.code, "--refine" in ended.err) == (2, True)


def test_masks_are_cross_checked_with_features_that_are_given(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, learned = [], []

    def top(encoder: Encoder, photos: PhotoSet, checked: Tensor, *_: Any) -> Tensor:
        assert photos.masks is not None
        asked.append((next(encoder.parameters()).clone(), checked, photos.masks.clone()))
        found = torch.zeros_like(photos.masks, dtype=torch.bool)
        found[:, :, : found.shape[2] // 2] = True
        return found

    def seen(run: Run, *rest: Any) -> Tensor:
        assert run.photos.masks is not None
        learned.append(run.photos.masks.clone())
        return own_part_maps(run, *rest)

    monkeypatch.setattr(part_maps, "unsupported", top)
    monkeypatch.setattr(refine, "own_part_maps", seen)
    eye = Encoder(str(read_checkpoint(finished).config.student["backbone"]))
    save_file(eye.body.state_dict(), tmp_path / "eye.safetensors")
    told = ["--cross-check", "--pretrained", tmp_path / "eye.safetensors"]
    after = refined(run_words, cli, tmp_path / "run", finished, *told)
    assert after.config.training["refined"][-1]["cross_check"] is True
    ((weight, checked, given),) = asked
    half = given.shape[2] // 2
    assert given[:, :, :half].any()
    assert not learned[0][:, :, :half].any()
    assert torch.equal(learned[0][:, :, half:], given[:, :, half:])
    assert torch.equal(weight, next(eye.parameters()))
    assert checked.all(), "no teacher knows any of them"
    ended = cli(*run_words(tmp_path / "bad", *told))
    assert (ended.code, "--refine" in ended.err) == (2, True)
    ended = cli(*run_words(tmp_path / "bad", "--refine", finished, "--cross-check", "--pretrained", "none"))
    assert (ended.code, "--pretrained none" in ended.err) == (2, True)
    other = Encoder("tf_efficientnet_lite0")
    save_file(other.body.state_dict(), tmp_path / "other.safetensors")
    told[-1] = tmp_path / "other.safetensors"
    ended = cli(*run_words(tmp_path / "bad", "--refine", finished, *told))
    assert (ended.code, "do not fit the encoder" in ended.err) == (3, True)
    assert not (tmp_path / "bad").exists()


def test_parts_of_who_is_not_upright_are_left_open(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[Tensor] = []

    def seen(run: Run, *rest: Any) -> Tensor:
        learned.append(own_part_maps(run, *rest))
        return learned[-1]

    monkeypatch.setattr(refine, "own_part_maps", seen)
    monkeypatch.setattr(part_maps, "UPRIGHT", 100.0)  # nobody is
    after = refined(run_words, cli, tmp_path / "run", finished, "--upright")
    assert after.config.training["refined"][-1]["upright"] is True
    assert not learned[0].any()
    ended = cli(*run_words(tmp_path / "bad", "--upright"))
    assert (ended.code, "--refine" in ended.err) == (2, True)
    ended = cli(*run_words(tmp_path / "bad", "--refine", finished, "--upright", "--regroup"))
    assert (ended.code, "leave one out" in ended.err) == (2, True)


def test_a_model_without_a_card_gets_one(finished: Path, run_words: Words, tmp_path: Path, cli: Any) -> None:
    bare = Path(shutil.copytree(finished, tmp_path / "bare"))
    (bare / "README.md").unlink()
    refined(run_words, cli, tmp_path / "after", bare)
    assert "license" in (tmp_path / "after" / "model" / "README.md").read_text()


def test_a_last_round_on_plain_photos_is_recorded_and_needs_a_model(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    after = refined(run_words, cli, tmp_path / "plain", finished, "--plain", "--size", "96x64")
    assert after.config.training["refined"][-1]["plain"] is True
    assert after.config.training["refined"][-1]["size"] == [96, 64]
    assert after.config.size == read_checkpoint(finished).config.size, "what `segment` sees stays"
    before = read_checkpoint(finished).tensors("student.")
    moved = {k for k, v in after.tensors("student.").items() if not torch.equal(v, before[k])}
    net = load_student(after)
    fine = {id(p) for layer in net.encoder.fine_layers() for p in layer.parameters()}
    names = {k for k, p in net.named_parameters() if id(p) in fine}
    assert names
    assert not names & moved, "edges and textures stay"
    assert {k for k, _ in net.named_parameters()} - names <= moved
    assert not {k for k in moved if "running" in k}, "and so do statistics"
    other = refined(run_words, cli, tmp_path / "hard", finished).tensors("student.")
    assert all(not torch.equal(other[k], before[k]) for k in names)
    assert any(not torch.equal(v, before[k]) for k, v in other.items() if "running_mean" in k)
    ended = cli(*run_words(tmp_path / "bad", "--plain"))
    assert (ended.code, "--refine" in ended.err) == (2, True)


def test_a_plain_round_shows_photos_more_often_that_differ_from_their_part_maps(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from partswap.training.loop import Runner

    drawn: list[Tensor | None] = []
    step = Runner.one_step

    def watched(self: Runner, stage: Any, progress: Any) -> Any:
        drawn.append(stage.often)
        return step(self, stage, progress)

    monkeypatch.setattr(Runner, "one_step", watched)
    seen: list[Tensor] = []

    def known(*words: Any, **more: Any) -> Tensor:
        seen.append(differing(*words, **more))
        return seen[-1]

    monkeypatch.setattr(refine, "differing", known)
    refined(run_words, cli, tmp_path / "usual", finished)
    assert not seen
    assert all(often is None for often in drawn)
    drawn.clear()
    refined(run_words, cli, tmp_path / "plain", finished, "--plain")
    assert len(seen[0].unique()) > 1
    assert drawn
    assert all(often is not None and torch.equal(often, how_often(seen[0])) for often in drawn)


def test_keeping_everything_is_refused(finished: Path, run_words: Words, tmp_path: Path, cli: Any) -> None:
    ended = cli(*run_words(tmp_path / "run", "--refine", finished, "--keep", 1))
    assert ended.code == 2
    assert "--keep" in ended.err


@pytest.mark.parametrize("masks", [True, False])
def test_a_run_that_stopped_at_the_renderer_goes_on_as_if_it_had_not(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch, masks: bool
) -> None:
    """The student is done then: it must not be averaged with the old one again, nor miss its masks."""
    from partswap.training.loop import Interrupted, Runner

    def words(out: Path, *more: object) -> list[str]:
        found = run_words(out, "--refine", finished, "--regroup", "--keep", 0.5, "--distill-steps", 20, *more)
        return found if masks else without(found, "--masks")

    assert cli(*words(tmp_path / "whole")).code == 0
    step = Runner.one_step

    def stopped(self: Runner, stage: Any, progress: Any) -> Any:
        if stage.name == "renderer" and progress.step == 1:
            self.save(stage, progress)
            raise Interrupted("stopped")
        return step(self, stage, progress)

    monkeypatch.setattr(Runner, "one_step", stopped)
    assert cli(*words(tmp_path / "cut")).code == 130
    monkeypatch.setattr(Runner, "one_step", step)
    ended = cli(*words(tmp_path / "cut", "--resume"))
    assert ended.code == 0, ended.err
    whole, cut = (read_checkpoint(tmp_path / run / "model").tensors() for run in ("whole", "cut"))
    assert [name for name in whole if not torch.equal(whole[name], cut[name])] == []


def test_refining_takes_the_encoder_of_the_model(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    ended = cli(*without(run_words(tmp_path / "run", "--refine", finished), "--backbone"))
    assert ended.code == 0, ended.err
    config = read_checkpoint(tmp_path / "run" / "model").config
    assert config.training["refined"][0]["backbone"] == config.student["backbone"] != "tf_efficientnet_lite0"


def test_photos_may_be_seen_in_a_larger_frame_and_the_model_keeps_its_own(
    finished: Path, run_words: Words, tmp_path: Path, cli: Any
) -> None:
    own = read_checkpoint(finished).config.size
    larger = f"{own[0] + 32}x{own[1] + 32}"
    after = refined(run_words, cli, tmp_path / "larger", finished, "--size", larger)
    assert after.config.training["refined"][-1]["size"] == [own[0] + 32, own[1] + 32]
    assert after.config.size == own
    ended = cli(*without(run_words(tmp_path / "own", "--refine", finished), "--size"))
    assert ended.code == 0, ended.err
    after = read_checkpoint(tmp_path / "own" / "model")
    assert after.config.training["refined"][-1]["size"] == list(own)

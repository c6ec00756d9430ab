"""What a kill, a full disk, an odd terminal or a hidden messenger could do."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import partswap
from partswap.checkpoint import read_checkpoint, write_checkpoint, write_parts
from partswap.cli import app
from partswap.errors import printable
from partswap.imaging import list_images
from partswap.imaging.save import atomic_write, clear_left_overs, is_left_over

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "models" / "tiny"))


def _write_again(folder: Path) -> None:
    read = read_checkpoint(folder)
    write_checkpoint(folder, read.config, read.parts, read.tensors(), "# again\n", overwrite=True)


def test_killed_between_the_two_renames_the_old_checkpoint_comes_back(model: Path) -> None:
    aside = model.parent / ".tiny.old-abc"
    aside.mkdir()
    read = read_checkpoint(model)
    model.rename(aside / "checkpoint")
    (model.parent / ".tiny.new-def").mkdir()
    with pytest.raises(
        Exception, match="NaN"
    ):  # a write that fails: what was there before must be there again
        write_checkpoint(model, read.config, read.parts, {"student.a": _nan()}, "# bad\n", overwrite=True)
    assert read_checkpoint(model).revision == read.revision
    assert [path.name for path in model.parent.iterdir()] == ["tiny"]


def _nan() -> Any:
    import torch

    return torch.full((1, 1), float("nan"))


def test_left_overs_are_known_never_listed_and_do_not_stand_in_the_way(model: Path) -> None:
    code = (
        "import os, sys\nfrom partswap.imaging import atomic_write\n"
        "with atomic_write(sys.argv[1]) as path:\n"
        "    path.write_bytes(b'half')\n    os.kill(os.getpid(), 9)\n"
    )
    for target in (model / "parts.json", model / "photo.png"):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        words = [sys.executable, "-c", code, str(target)]
        assert subprocess.run(words, env=environment, check=False).returncode
    left = [path for path in model.iterdir() if is_left_over(path)]
    assert {path.suffix for path in left} == {".json", ".png"}
    assert not (model / "photo.png").exists()
    assert list_images(model) == []
    write_parts(model, read_checkpoint(model).parts.renamed({1: "torso"}))
    _write_again(model)
    assert read_checkpoint(model).parts.name(1) == "torso"
    assert not any(is_left_over(path) for path in model.iterdir())


def test_clearing_left_overs_touches_nothing_else(tmp_path: Path) -> None:
    names = [".partswap-0123456789ab.tmp.png", ".partswap-0123456789ab.tmp", "a.png", ".partswap-x.tmp.png"]
    for name in names:
        (tmp_path / name).touch()
    clear_left_overs(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[2:])
    clear_left_overs(tmp_path / "nowhere")


def test_half_a_line_of_the_log_is_taken_away(tmp_path: Path) -> None:
    from partswap.training.log import RunLog

    (tmp_path / "log.jsonl").write_text('{"stage": "a", "step": 1}\n{"stage": "a", "st')
    with RunLog(tmp_path, quiet=True) as log:
        log.record("a", 2, {"loss": 0.5})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (MemoryError(), "not enough memory"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/some\nwhere"),
            r"/some\nwhere: Permission denied",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
    ],
)
def test_what_nobody_foresaw_is_one_sentence(
    cli: Any, monkeypatch: pytest.MonkeyPatch, raised: Exception, words: str
) -> None:
    def command() -> None:
        raise raised

    monkeypatch.setattr(app, "_load", lambda entry: command)
    outcome = cli("doctor")
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert words in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error_of_ours(tiny_checkpoint: Path) -> None:
    words = [sys.executable, "-m", "partswap", "models", "info", str(tiny_checkpoint), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(words, env=environment, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert b"Traceback" not in done.stderr
    assert b"error: " not in done.stderr


def test_odd_names_on_odd_terminals(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """Bytes that are no text, escapes and line breaks, written to a stdout that knows only ASCII."""
    names = [os.fsdecode(b"latin-\xe9.png"), "\x1b]red\n.png", "名🦊.png"]
    words = [sys.executable, "-m", "partswap", "segment", "--json", "--quiet", "--device", "cpu", "--"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    words[4:4] = ["--model", str(tiny_checkpoint), "--out", str(tmp_path)]
    done = subprocess.run([*words, *names], env=environment, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert [json.loads(line)["input"] for line in done.stdout.decode().splitlines()] == names
    said = done.stderr.decode().splitlines()
    assert len(said) == len(names)
    assert all(line.startswith("error: ") and printable(line) == line for line in said)


def test_printable() -> None:
    assert printable("naïve 名🦊 photo.png") == "naïve 名🦊 photo.png"
    assert printable("a\nb\x1b[0m\u202e\udce9") == "a\\nb\\x1b[0m\\u202e\\udce9"


def test_the_runtime_tells_its_maker_nothing(tmp_path: Path) -> None:
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    assert partswap.__version__
    code = "import partswap, onnxruntime, os, sys; sys.exit(len(os.listdir(sys.argv[1])))"
    kept = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment = {**kept, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    assert (
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=False).returncode
        == 0
    )


def test_a_failed_write_in_a_read_only_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(Exception, match="could not be written"),
        atomic_write(tmp_path / "file" / "below.png"),
    ):
        pass

"""Every item of the corpus in this process; benchmarks/reliability.py runs it through every command."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_images import encoded, picture
from bad_jpegs import endless_scans
from PIL import Image

from partswap.benchmark.dataset import read_label
from partswap.errors import ImageError, PartswapError, printable
from partswap.imaging import list_images, load_image
from partswap.imaging.load import SUFFIXES

Corpus = tuple[Path, list[Any]]
TOO_LONG = "x" * 200


def test_the_corpus_is_large_and_the_same_every_time(bad_images: Corpus, tmp_path: Path) -> None:
    from bad_images import write_bad_images

    folder, cases = bad_images
    assert len(cases) >= 100
    again = write_bad_images(tmp_path)
    fuzzed = [case.name for case in again if case.name.startswith(("fuzzed", "cut"))]
    assert len(fuzzed) > 30
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in fuzzed)


def test_each_is_read_or_refused_with_its_name_in_little_time(bad_images: Corpus) -> None:
    folder, cases = bad_images
    wrong = []
    for case in cases:
        start = time.process_time()
        try:
            load_image(folder / case.name)
            outcome = "fine"
        except ImageError as error:
            outcome = "refused" if case.name in str(error) else f"not named: {error}"
        took = time.process_time() - start
        expected = {"either": ("fine", "refused")}.get(case.expected, (case.expected,))
        if case.name.startswith(TOO_LONG):
            expected = ("fine",)  # to look at; it is its results that have no name
        if outcome not in expected or took > 3:
            wrong.append((case.name, outcome, case.expected, round(took, 1)))
    assert not wrong


def test_a_folder_of_them_all_names_each_and_does_the_rest(
    cli: Any, bad_images: Corpus, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder, cases = bad_images
    out = tmp_path / "out"
    words = ["segment", folder, "--out", out, "--model", tiny_checkpoint, "--device", "cpu", "--json"]
    outcome = cli(*words, "--quiet")
    assert outcome.code == 1
    assert all(line.startswith("error: ") for line in outcome.err.splitlines())
    listed = [case for case in cases if Path(case.name).suffix.lower() in SUFFIXES]
    listed = [case for case in listed if not (folder / case.name).is_dir()]
    done, failed = set(), set()
    for line in outcome.lines():
        name = Path(line["input"]).name
        (failed if "error" in line else done).add(name)
        assert "error" in line or all(Path(path).exists() for path in line["outputs"].values())
    assert done | failed == {case.name for case in listed}
    assert all(case.name in failed for case in listed if case.expected == "refused")
    assert all(case.name in done for case in listed if case.expected == "fine")
    assert all(printable(name)[:100] in outcome.err for name in failed)
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


def test_as_label_maps(bad_images: Corpus) -> None:
    folder, cases = bad_images
    for case in cases:
        said = case.name
        try:
            assert read_label(folder / case.name).dtype == np.uint8
        except ImageError as error:
            said = str(error)
        assert case.name in said


def test_ghostscript_is_never_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    def called(*words: object, **_: object) -> None:
        pytest.fail(f"called {words}")

    monkeypatch.setattr(subprocess, "Popen", called)
    path = tmp_path / "label.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
    for read in (load_image, read_label):
        with pytest.raises(ImageError, match="not an image"):
            read(path)


def test_endless_scans_are_found_before_they_are_decoded() -> None:
    start = time.process_time()
    with pytest.raises(ImageError, match=r"6000 x 6000.*scans"):
        load_image(endless_scans((6000, 6000), 2000))
    assert time.process_time() - start < 2
    assert load_image(endless_scans((64, 64), 20)).rgb.shape == (64, 64, 3)
    assert load_image(encoded(picture(size=(1600, 1200)), "JPEG", progressive=True)).rgb.any()


def test_devices_are_refused_and_a_slow_writer_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="device"):
        load_image("/dev/zero" if os.path.exists("/dev/zero") else os.devnull)
    if not hasattr(os, "mkfifo"):
        return
    import threading

    def write() -> None:
        with (tmp_path / "pipe").open("wb") as pipe:
            time.sleep(0.3)  # longer than the patience with those who have not opened it
            pipe.write(encoded(picture(), "PNG"))

    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=write)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("partswap.imaging.opening._PATIENCE", 5.0)
        writer.start()
        assert load_image(tmp_path / "pipe").rgb.any()
    writer.join()


def test_a_stream_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        def read(self, size: int = -1) -> bytes:
            assert size > 0
            return bytes(size)

    monkeypatch.setattr("partswap.imaging.opening._MAX_STREAM", 8 << 20)
    with pytest.raises(ImageError, match="no photo"):
        load_image(Endless())  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "chdir") or os.name == "nt", reason="paths are shorter there")
def test_a_tree_deeper_than_python_calls_itself(tmp_path: Path) -> None:
    here, depth = Path.cwd(), 1200
    os.chdir(tmp_path)
    try:
        for _ in range(depth):
            os.mkdir("a")
            os.chdir("a")
        Image.new("RGB", (2, 2)).save("x.png")
        found = list_images(tmp_path)
        os.unlink("x.png")
        for _ in range(depth):  # what comes to clear up calls itself for every level
            os.chdir("..")
            os.rmdir("a")
    finally:
        os.chdir(here)
    assert [path.name for path in found] == ["x.png"]


@pytest.mark.parametrize("word", ["~nobody-of-this-name/x.jpg", "y" * 300 + ".jpg", "z" * 5000])
def test_paths_that_cannot_be(cli: Any, tiny_checkpoint: Path, word: str) -> None:
    outcome = cli("segment", word, "--model", tiny_checkpoint, "--device", "cpu", "--quiet")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    for words in (
        ["evaluate", "--images", word, "--labels", word],
        ["train", word, "--pretrained", "none"],
        ["transfer", word, word],
    ):
        outcome = cli(*words)
        assert outcome.code in (1, 2, 3)
        assert "Traceback" not in outcome.err


def test_classes_with_names_like_markup(cli: Any, tiny_checkpoint: Path, tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        made = picture() if kind == "images" else picture().convert("L").point(lambda value: value // 128)
        made.save(tmp_path / kind / "a.png")
    (tmp_path / "classes.json").write_text(json.dumps({"parts": ["background", "[/red]one"]}))
    words = ["evaluate", "--images", tmp_path / "images", "--labels", tmp_path / "labels", "--device", "cpu"]
    outcome = cli(*words, "--classes", tmp_path / "classes.json", "--model", tiny_checkpoint)
    assert outcome.code == 0, outcome.err
    assert "[/red]one" in outcome.out


def test_a_report_on_a_photo_whose_name_is_no_text(cli: Any, tiny_checkpoint: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"latin-\xe9.png")
    for kind, made in (
        ("images", picture()),
        ("labels", picture().convert("L").point(lambda value: value // 128)),
    ):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / name).write_bytes(encoded(made, "PNG"))
    (tmp_path / "images" / f"2{name}").write_bytes(b"no picture")
    (tmp_path / "labels" / f"2{name}").write_bytes(encoded(picture().convert("L"), "PNG"))
    words = ["evaluate", "--images", tmp_path / "images", "--labels", tmp_path / "labels", "--device", "cpu"]
    outcome = cli(
        *words, "--model", tiny_checkpoint, "--out", tmp_path / "report.json", "--json", "--framing"
    )
    assert outcome.code == 1, outcome.err
    failed = json.loads((tmp_path / "report.json").read_text())["failed"]
    assert failed == json.loads(outcome.out)["failed"] == [f"2{Path(name).stem}"]


def test_deep_classes_are_one_sentence(tmp_path: Path) -> None:
    from partswap.benchmark.dataset import Classes

    (tmp_path / "classes.json").write_text("[" * 100_000)
    with pytest.raises(PartswapError, match="classes cannot be read"):
        Classes.read(tmp_path / "classes.json")

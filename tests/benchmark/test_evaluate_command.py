"""`partswap evaluate` with a stand-in for the model: stdout, stderr, files and exit codes."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

import partswap
from partswap.cli.evaluate import evaluate_command
from partswap.errors import UsageError
from partswap.parts import Parts


@pytest.fixture
def run(drawn, monkeypatch):
    model = SimpleNamespace(
        segment=lambda rgb: SimpleNamespace(labels=drawn.nearest_colour(rgb)),
        parts=Parts.default(3).renamed({1: "head"}),
        checkpoint=SimpleNamespace(path="drawn-model", identity={"model": "drawn", "revision": "abc"}),
        engine=SimpleNamespace(name="torch", device="cpu"),
    )
    monkeypatch.setattr(partswap, "load", lambda **options: model, raising=False)
    app = typer.Typer()
    app.command()(evaluate_command)

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    return invoke


def test_json_and_file(drawn, run, tmp_path) -> None:
    images, labels, classes = drawn.write_dataset(tmp_path)
    out = tmp_path / "report.json"
    arguments = ["--images", images, "--labels", labels, "--classes", classes, "--json", "--out", out]
    result = run(*arguments, "--framing", "--leak", "--limit", 3)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report == json.loads(out.read_text())
    assert report["model"]["overall"] == 1
    assert (report["images"], report["checkpoint"]["device"], report["failed"]) == (3, "cpu", [])
    assert report["named"]["names"] == ["head", "part2", "part3"]
    again = run(*arguments)
    assert isinstance(again.exception, UsageError)
    assert "--overwrite" in str(again.exception)
    assert run(*arguments, "--overwrite").exit_code == 0


def test_table_and_numbers_as_names(drawn, run, tmp_path) -> None:
    images, labels, _ = drawn.write_dataset(tmp_path)
    result = run("--images", images, "--labels", labels)
    assert result.exit_code == 0, result.output
    assert "8x4 grid of the true foreground" in result.stdout
    assert "drawn-model" in result.stdout
    assert "scoring" not in result.stdout


def test_a_bad_photo_is_named_and_the_rest_scored(drawn, run, tmp_path) -> None:
    images, labels, classes = drawn.write_dataset(tmp_path)
    (images / "02.png").write_bytes(b"not a picture")
    result = run("--images", images, "--labels", labels, "--classes", classes, "--json")
    assert result.exit_code == 1
    assert "02.png" in result.stderr
    report = json.loads(result.stdout)
    assert (report["images"], report["failed"]) == (3, ["02"])


def test_nothing_readable(drawn, run, tmp_path) -> None:
    images, labels, _ = drawn.write_dataset(tmp_path, 1)
    (images / "00.png").write_bytes(b"not a picture")
    assert isinstance(run("--images", images, "--labels", labels).exception, UsageError)


def test_coarse_needs_names(drawn, run, tmp_path) -> None:
    images, labels, _ = drawn.write_dataset(tmp_path, 1)
    assert isinstance(run("--images", images, "--labels", labels, "--coarse").exception, UsageError)

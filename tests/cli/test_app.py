"""The frame of the command line: help, exit codes, and how fast it answers."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
import typer

from partswap.cli import app
from partswap.errors import PartswapError


def test_help_lists_every_command_without_importing_anything_heavy():
    script = (
        "import sys\n"
        "from partswap.cli.app import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'numpy', 'PIL', 'cv2', 'timm', 'scipy', 'onnxruntime', 'huggingface_hub'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in app.COMMANDS)
    assert "Exit codes" in done.stdout


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_exists_and_its_module_imports_nothing_heavy(name):
    module = app.COMMANDS[name].module
    script = (
        f"import sys, partswap.cli.{module}\n"
        "heavy = {'torch', 'numpy', 'PIL', 'cv2', 'timm', 'scipy', 'onnxruntime', 'huggingface_hub'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = getattr(import_module(f"partswap.cli.{module}"), app.COMMANDS[name].attribute)
    assert callable(found)


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_has_help(cli, name):
    outcome = cli(name, "--help")
    assert outcome.code == 0
    assert f"partswap {name}" in outcome.out


def test_version_and_wrong_usage(cli):
    assert cli("--version").out.startswith("partswap ")
    assert cli().code == 2
    for words in (["nonsense"], ["segment"], ["segment", "x", "--nonsense"], ["--nonsense"]):
        outcome = cli(*words)
        assert outcome.code == 2
        assert not outcome.out


class _SpecialError(PartswapError):
    exit_code = 7


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (_SpecialError("it is broken; mend it"), 7, "error: it is broken; mend it\n"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (typer.Exit(5), 5, ""),
    ],
)
def test_errors_become_one_sentence_and_an_exit_code(cli, monkeypatch, raised, code, said):
    def command() -> None:
        raise raised

    monkeypatch.setattr(app, "_load", lambda entry: command)
    outcome = cli("doctor")
    assert outcome.code == code
    assert outcome.err.startswith(said)
    assert outcome.err.count("\n") <= 1
    assert not outcome.out

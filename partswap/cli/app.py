"""`partswap`: finds the command, turns errors into one sentence and an exit code.

A command's module is imported only when that command is called, so that `partswap --help` answers at once;
the words that `--help` shows for the others are kept in the table here.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from partswap.errors import PartswapError, printable

__all__ = ["COMMANDS", "Command", "build_app", "main"]

HELP = "Learn the parts of a thing from unlabelled photos, segment them in any photo, carry their look over."

EPILOG = (
    "Exit codes: 0 all done, 1 some inputs failed (each is named, the rest is finished), 2 wrong usage, "
    "3 the model could not be loaded."
)


@dataclass(frozen=True)
class Command:
    """A command: the attribute of the module `partswap.cli.MODULE` that runs it, and its line in the
    overview."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    "train": Command(
        "train", "train_command", "Learn the parts of whatever a folder of unlabelled photos shows."
    ),
    "segment": Command(
        "segment", "segment_command", "Find the parts in photos: label maps, overlays, cutouts."
    ),
    "parts": Command("parts", "parts_app", "Look at the parts of a model, and name them."),
    "transfer": Command(
        "transfer", "transfer_command", "Carry the look of chosen parts from photo to photo."
    ),
    "evaluate": Command("evaluate", "evaluate_command", "Score a model against labelled photos."),
    "models": Command("models", "models_app", "List, pull, push and verify models; the Hugging Face Hub."),
    "export-onnx": Command(
        "export_onnx", "export_onnx_command", "Write the model as an ONNX file, checked against torch."
    ),
    "doctor": Command("doctor", "doctor_command", "Tell versions, devices, and what is wrong with the mend."),
}


class _Group(TyperGroup):
    """The one place where an error becomes words on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PartswapError as error:
            raise _said(str(error), error.exit_code) from error
        except MemoryError as error:
            raise _said(
                "there is not enough memory for this; close other programs or take a smaller photo"
            ) from error
        except OSError as error:  # what no command foresaw: a folder that may not be entered, a full disk
            if error.errno == errno.EPIPE:  # who reads stdout has enough
                raise
            where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
            raise _said(f"{where}{error.strerror or error}; check the place and its permissions") from error
        except KeyboardInterrupt as error:
            print("interrupted: files that were written already are whole", file=sys.stderr)
            raise typer.Exit(130) from error


def _said(sentence: str, exit_code: int = 1) -> typer.Exit:
    print(f"error: {printable(sentence)}", file=sys.stderr)
    return typer.Exit(exit_code)


def build_app(command: str | None = None) -> typer.Typer:
    """The program with the module of `command` imported, and only the names of all others; `*` imports
    all."""
    app = typer.Typer(
        cls=_Group,
        help=HELP,
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, entry in COMMANDS.items():
        loaded = _load(entry) if command in (name, "*") else _listed
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=name, help=entry.help, no_args_is_help=True)
        else:
            app.command(name, help=entry.help if loaded is _listed else None)(loaded)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (`sys.argv` by default); always ends in SystemExit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _prepare_streams()
    if not sys.warnoptions:  # warnings are for programmers; what a person must know is said in words
        warnings.simplefilter("ignore")
    completing = any(name.startswith("_PARTSWAP_COMPLETE") for name in os.environ)
    command = "*" if completing else next((word for word in words if not word.startswith("-")), None)
    build_app(command)(args=words, prog_name="partswap")


def _prepare_streams() -> None:
    """Names of files may hold bytes that are no text: they are written as escapes, which JSON reads back, and
    never stop the program. Data in a pipe or a file is UTF-8 on every system."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            piped = stream is sys.stdout and not stream.isatty()
            stream.reconfigure(encoding="utf-8" if piped else stream.encoding, errors="backslashreplace")


def _load(entry: Command) -> Callable[..., Any] | typer.Typer:
    return getattr(import_module(f"partswap.cli.{entry.module}"), entry.attribute)


def _listed() -> None:
    """Stands for a command that is only shown by name; `main` has imported the one that is called."""
    raise AssertionError("a command was called that was not imported")


def _print_version(wanted: bool) -> None:
    if wanted:
        from partswap import __version__

        print(f"partswap {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    main()

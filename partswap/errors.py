"""The one exception tree of partswap.

Every error that a user can cause or mend is a ``PartswapError`` whose text is one sentence that says what
is wrong and how to mend it. The command line prints that sentence (no traceback) and exits with
``exit_code``; anything else that is raised is a bug of ours.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = ["DeviceError", "ImageError", "ModelError", "PartswapError", "UsageError", "printable"]


class PartswapError(Exception):
    """A known failure: ``str(error)`` is a sentence for a person, ``exit_code`` the process's exit status."""

    exit_code: ClassVar[int] = 1


class UsageError(PartswapError):
    """Wrong usage: a bad option or configuration, no inputs, or an output that exists already."""

    exit_code: ClassVar[int] = 2


class ModelError(PartswapError):
    """A checkpoint could not be found, trusted or loaded."""

    exit_code: ClassVar[int] = 3


class ImageError(PartswapError):
    """An image could not be read."""

    exit_code: ClassVar[int] = 1


class DeviceError(PartswapError):
    """The device or provider that was asked for is not on this machine."""

    exit_code: ClassVar[int] = 2


def printable(text: object) -> str:
    """A sentence as one line that a terminal shows and does not obey: file names may hold line breaks, escape
    sequences, and bytes that are no text."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return "".join(shown)

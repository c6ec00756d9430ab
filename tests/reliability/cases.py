"""What an item of the corpus says about itself."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EITHER", "FINE", "REFUSED", "Case"]

REFUSED, FINE, EITHER = "refused", "fine", "either"
"""What a command has to do with an item: say no, take it as it is, or either, as long as nothing breaks."""


@dataclass(frozen=True)
class Case:
    """One file or folder of the corpus.

    name: of the file or folder, in the folder it was written to. about: what is wrong with it, in few words.
    expected: `REFUSED`, `FINE` or `EITHER`.
    """

    name: str
    about: str
    expected: str = REFUSED

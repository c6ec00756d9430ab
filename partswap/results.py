"""What `segment` writes for a photo: label map, overlay, cutouts, probabilities; which files, and how."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from partswap.errors import ImageError, UsageError

if TYPE_CHECKING:
    from partswap.parts import Parts
    from partswap.segmentation import Segmentation

__all__ = ["CLIP_ENDINGS", "KINDS", "Results"]

KINDS = ("labels", "overlay", "cutouts", "probabilities")
"""What `--what` takes."""

_LONGEST_NAME = 255  # bytes, on every common file system

CLIP_ENDINGS = {"labels": ".parts.mkv", "overlay": ".overlay.mp4"}
"""What there is of a clip, and how it is called after the stem."""

_ENDINGS = {"labels": ".parts.png", "overlay": ".overlay.png", "probabilities": ".probabilities.npz"}


@dataclass(frozen=True)
class Results:
    """The results that are wanted of every photo.

    kinds: of `KINDS`. names: the named parts that get a cutout each.
    """

    kinds: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def wanted(cls, text: str, parts: Parts, ids: Collection[int]) -> Results:
        """From `--what` ("labels,cutouts") and the ids kept; UsageError for an unknown word."""
        kinds = tuple(dict.fromkeys(word.strip().lower() for word in text.split(",") if word.strip()))
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown or not kinds:
            raise UsageError(f"--what takes {', '.join(KINDS)} (with commas between), not {text[:60]!r}")
        names = tuple(dict.fromkeys(parts.name(part_id) for part_id in sorted(ids)))
        return cls(kinds, names if "cutouts" in kinds else ())

    @staticmethod
    def all_endings(parts: Parts) -> list[str]:
        """The endings of all files that `segment` may ever write for a photo or a clip."""
        cutouts = [f".{name}.png" for name in dict.fromkeys(parts.names)]
        return [*_ENDINGS.values(), *cutouts, *CLIP_ENDINGS.values()]

    def endings(self) -> list[str]:
        """The endings of all files that may be written for one photo, after its stem."""
        return [_ENDINGS[kind] for kind in self.kinds if kind in _ENDINGS] + [
            f".{name}.png" for name in self.names
        ]

    def paths(self, base: Path) -> Iterator[Path]:
        """The files that may be written for the photo whose results begin with `base` (folder and stem)."""
        for ending in self.endings():
            yield base.with_name(base.name + ending)

    def clip_paths(self, base: Path) -> dict[str, Path]:
        """The files by kind that are written for a clip; UsageError where a clip has no such result."""
        unknown = [kind for kind in self.kinds if kind not in CLIP_ENDINGS]
        if unknown:
            raise UsageError(
                f"{unknown[0]} are written of photos only; of a clip there are labels and overlay"
            )
        return {kind: base.with_name(base.name + CLIP_ENDINGS[kind]) for kind in self.kinds}

    def left(self, base: Path, parts: Parts) -> Results | None:
        """Those that have no file yet; None if all are there.

        A part that is not in the photo has no cutout: the label map tells which those are, where it is wanted
        too and is there. Without it they count as left.
        """
        kinds = [kind for kind in self.kinds if kind in _ENDINGS and not self._path(base, kind).exists()]
        names = [name for name in self.names if not _cutout_path(base, name).exists()]
        if names and "labels" in self.kinds and "labels" not in kinds:
            shown = _ids_shown(self._path(base, "labels"))
            names = [name for name in names if shown.intersection(parts.ids(name))]
        kinds += ["cutouts"] if names else []
        return Results(tuple(kinds), tuple(names)) if kinds else None

    def write(self, found: Segmentation, base: Path, overwrite: bool) -> dict[str, str | dict[str, str]]:
        """Write them, each file in one step; returns their paths by kind, the cutouts' by name.

        A part that is not in the photo gets no cutout. Raises UsageError for a file that exists,
        PartswapError if the disk is full, ImageError for a photo whose name leaves no room for theirs.
        """
        from partswap.imaging import save_image, save_label_map

        long = next((path for path in self.paths(base) if len(os.fsencode(path.name)) > _LONGEST_NAME), None)
        if long is not None:
            raise ImageError(
                f"{base.name}: this name is too long for its results ({long.name}); rename the photo"
            )

        written: dict[str, str | dict[str, str]] = {}
        for kind in self.kinds:
            if kind == "cutouts":
                written[kind] = self._write_cutouts(found, base, overwrite)
                continue
            path = self._path(base, kind)
            if kind == "labels":
                save_label_map(found.labels, found.parts.palette(), path, overwrite)
            elif kind == "overlay":
                save_image(found.overlay(), path, icc=found.image.icc, overwrite=overwrite)
            else:
                _write_probabilities(found, path, overwrite)
            written[kind] = str(path)
        return written

    def _path(self, base: Path, kind: str) -> Path:
        return base.with_name(base.name + _ENDINGS[kind])

    def _write_cutouts(self, found: Segmentation, base: Path, overwrite: bool) -> dict[str, str]:
        from partswap.imaging import save_image

        written = {}
        for name in self.names:
            path = _cutout_path(base, name)
            if found.mask(name).any():
                save_image(found.cutout(name), path, icc=found.image.icc, overwrite=overwrite)
                written[name] = str(path)
            elif overwrite:
                path.unlink(missing_ok=True)  # of an earlier run; it would seem to belong to this one
        return written


def _cutout_path(base: Path, name: str) -> Path:
    return base.with_name(f"{base.name}.{name}.png")


def _ids_shown(path: Path) -> set[int]:
    """The ids in a label map that was written; all of them if it is no such thing."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as image:
            return set(np.unique(np.asarray(image)).tolist())
    except OSError:
        return set(range(256))


def _write_probabilities(found: Segmentation, path: Path, overwrite: bool) -> None:
    """An `.npz` with probabilities float16 (n, h, w), ids (n,), names (n,) and photo_size (height, width)."""
    import numpy as np

    from partswap.imaging import atomic_write

    probabilities, ids = found.probabilities()
    with atomic_write(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            probabilities=probabilities,
            ids=np.array(ids, np.uint8),
            names=np.array([found.parts.name(part_id) for part_id in ids]),
            photo_size=np.array(found.frame.photo, np.int32),
        )

"""A folder of photos, decoded once and kept as uint8."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partswap.errors import ImageError, UsageError
from partswap.imaging.load import list_images, load_image, load_mask
from partswap.inputs import without_results

MIN_PHOTOS = 8
"""With fewer photos nothing is shared between them, so there is nothing to discover."""


MADE = (".parts.png", ".overlay.png", ".swap.png", ".grid.png")
"""Endings of what `segment` and `transfer` write beside a photo, under its name: no photos themselves.
Cutouts are not told from photos, as their names depend on the model."""


@dataclass
class PhotoSet:
    """All photos of a training run in memory.

    Attributes:
        images: uint8 (N, 3, H, W), RGB, fitted into the frame with their aspect kept; the rest repeats the
            photo's edge.
        masks: uint8 (N, 1, H, W), 255 where the foreground is; None until it is given or estimated.
        inside: uint8 (N, 1, H, W), 1 where the photo is, 0 where its edge was repeated.
        partners: int64 (N,), another photo of the same thing, or the photo itself.
        names: file names, relative to the folder.
        skipped: (name, reason) of files that could not be read.
    """

    images: Tensor
    masks: Tensor | None
    inside: Tensor
    partners: Tensor
    names: list[str]
    skipped: list[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.images)

    def fingerprint(self) -> str:
        """Which photos these are, in which order and with which partners: a resumed run needs the same."""
        told = json.dumps([self.names, self.partners.tolist()])
        return f"{len(self)} photos, {hashlib.sha256(told.encode()).hexdigest()[:8]}"

    def extent(self, index: Tensor | None = None) -> Tensor:
        """Rows and columns of the frame that the photos ``index``, or all, fill: int64 (n, 2)."""
        here = self.inside[:, 0] if index is None else self.inside[index, 0]
        return torch.stack([here.amax(2).sum(1), here.amax(1).sum(1)], 1)

    def rows(self, index: Tensor) -> PhotoSet:
        """Some of the photos, int64 (n,), in this order, without partners."""
        return PhotoSet(
            self.images[index],
            None if self.masks is None else self.masks[index],
            self.inside[index],
            torch.arange(len(index), device=index.device),
            [self.names[i] for i in index.tolist()],
            [],
        )

    def to(self, device: torch.device) -> PhotoSet:
        """The same set on another device."""
        masks = None if self.masks is None else self.masks.to(device)
        return PhotoSet(
            self.images.to(device),
            masks,
            self.inside.to(device),
            self.partners.to(device),
            self.names,
            self.skipped,
        )


def _letterbox(
    image: NDArray[np.uint8], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    """Fit (h, w[, 3]) into ``size``, centred, edges repeated; returns the picture and the photo's box (y0,
    y1, x0, x1)."""
    from PIL import Image

    height, width = size
    h, w = image.shape[:2]
    scale = min(height / h, width / w)
    nh, nw = max(1, min(height, round(h * scale))), max(1, min(width, round(w * scale)))
    reducing = max(1.0, 1.0 / scale) if scale < 1 else None
    small = Image.fromarray(image).resize((nw, nh), Image.Resampling.LANCZOS, reducing_gap=reducing and 2.0)
    y0, x0 = (height - nh) // 2, (width - nw) // 2
    pad = [(y0, height - nh - y0), (x0, width - nw - x0)] + [(0, 0)] * (image.ndim - 2)
    return np.pad(np.asarray(small), pad, mode="edge"), (y0, y0 + nh, x0, x0 + nw)


def _read_one(
    path: Path, mask_path: Path | None, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, NDArray[np.uint8]]:
    photo = load_image(path)
    image, (y0, y1, x0, x1) = _letterbox(photo.rgb, size)
    inside = np.zeros(size, np.uint8)
    inside[y0:y1, x0:x1] = 1
    mask = None
    if mask_path is not None:
        h, w = photo.rgb.shape[:2]
        mask, _ = _letterbox(load_mask(mask_path, size=(w, h)), size)
        mask = mask * inside
    return image, mask, inside


def _find_masks(paths: Sequence[Path], root: Path, folder: Path) -> list[Path | None]:
    """The mask of each photo: same relative path or, failing that, the same stem anywhere under
    ``folder``."""
    candidates = list_images(folder)
    by_relative = {p.relative_to(folder).with_suffix("").as_posix(): p for p in candidates}
    by_stem = {p.stem: p for p in candidates}
    found = [
        by_relative.get(p.relative_to(root).with_suffix("").as_posix()) or by_stem.get(p.stem) for p in paths
    ]
    if not any(found):
        raise UsageError(
            f"no mask in {folder} has the stem of a photo in {root}; masks must be named like their photos."
        )
    return found


def _read_pairs(file: Path, names: Sequence[str]) -> list[str | None]:
    """Group of every photo from a CSV with the columns ``group,file`` (file: stem, name or relative path)."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:  # spreadsheets write a mark first
            rows = list(csv.DictReader(handle))
        groups = {row["file"].strip(): row["group"].strip() for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the pairs file {file} could not be read: {error}.") from error
    except (KeyError, AttributeError) as error:
        raise UsageError(f"the pairs file {file} needs a header line with the columns group,file.") from error
    keys = ((n, Path(n).name, Path(n).with_suffix("").as_posix(), Path(n).stem) for n in names)
    found = [next((groups[k] for k in key if k in groups), None) for key in keys]
    if not any(found):
        raise UsageError(
            f"no file named in {file} is among the photos; the column 'file' holds names or stems."
        )
    return found


def _partners(groups: Sequence[str | None]) -> Tensor:
    """The next photo of the same group, cyclically; a photo alone is its own partner."""
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        if group is not None:
            members.setdefault(group, []).append(i)
    partners = torch.arange(len(groups))
    for indices in members.values():
        for a, b in zip(indices, indices[1:] + indices[:1], strict=True):
            partners[a] = b
    return partners


def _without(paths: Sequence[Path], root: Path, ignore: Sequence[Path]) -> list[Path]:
    """``paths`` less those in the folders ``ignore`` that lie inside ``root``."""
    folders = [f.resolve() for f in ignore if f.resolve() != root.resolve()]
    folders = [f for f in folders if f.is_relative_to(root.resolve())]
    return [p for p in paths if not any(p.resolve().is_relative_to(f) for f in folders)]


def load_photos(
    root: Path,
    size: tuple[int, int],
    *,
    masks: Path | None = None,
    pairs: Path | None = None,
    group_by_folder: bool = False,
    ignore: Sequence[Path] = (),
    workers: int = 4,
    report: Callable[[int, int], None] | None = None,
) -> PhotoSet:
    """Read every image under ``root``.

    Args:
        size: (H, W) of the frame that photos are fitted into.
        masks: folder of foreground masks with the photos' stems; photos without one are left out.
        pairs: CSV with the columns ``group,file``: photos of one group show the same thing.
        group_by_folder: photos in one folder show the same thing.
        ignore: folders whose pictures are no photos, wherever they lie: a run's sheets, masks.
        report: called with (done, total) after each photo.

    Raises:
        UsageError: no folder, or fewer than MIN_PHOTOS readable photos.
    """
    if not os.path.isdir(root):
        raise UsageError(f"{root} is not a folder; give train a folder of photos.")
    paths = without_results(_without(list_images(root), root, ignore), MADE)
    mask_paths: Sequence[Path | None] = [None] * len(paths)
    if masks is not None and paths:
        mask_paths = _find_masks(paths, root, masks)
    images, mask_list, insides, names = [], [], [], []
    skipped: list[tuple[str, str]] = []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        jobs = [pool.submit(_read_one, p, m, size) for p, m in zip(paths, mask_paths, strict=True)]
        for i, (path, mask_path, job) in enumerate(zip(paths, mask_paths, jobs, strict=True)):
            name = path.relative_to(root).as_posix()
            try:
                image, mask, inside = job.result()
            except ImageError as error:
                skipped.append((name, str(error)))
                continue
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)  # or it would read all the others first
                raise
            finally:
                if report is not None:
                    report(i + 1, len(paths))
            if masks is not None and mask_path is None:
                skipped.append((name, "it has no mask"))
                continue
            images.append(image)
            insides.append(inside)
            names.append(name)
            if mask is not None:
                mask_list.append(mask)
    if len(images) < MIN_PHOTOS:
        why = (
            f"; {len(skipped)} could not be used, the first: {skipped[0][0]}: {skipped[0][1]}"
            if skipped
            else ""
        )
        raise UsageError(
            f"{root} holds {len(images)} readable photos, and training needs at least {MIN_PHOTOS}{why}."
        )
    groups: list[str | None] = [None] * len(names)
    if pairs is not None:
        groups = _read_pairs(pairs, names)
    elif group_by_folder:
        groups = [Path(n).parent.as_posix() for n in names]
    stack = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    mask_stack = torch.from_numpy(np.stack(mask_list)).unsqueeze(1) if mask_list else None
    return PhotoSet(
        stack, mask_stack, torch.from_numpy(np.stack(insides)).unsqueeze(1), _partners(groups), names, skipped
    )

"""Labelled photos on disk: photos and label maps that share a stem, and the names of the classes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from partswap.benchmark import clothing
from partswap.benchmark.evaluate import Photo
from partswap.errors import ImageError, PartswapError, UsageError
from partswap.imaging.load import list_images, load_image, load_label_map, load_mask


@dataclass(frozen=True)
class Classes:
    """What the pixel values of a label map mean.

    names: index = class, 0 background; ignore: the value that is not scored; table: uint8 (256,), applied to
    the pixels first where classes are grouped.
    """

    names: list[str]
    ignore: int = 255
    table: NDArray[np.uint8] | None = None

    @classmethod
    def read(cls, path: Path, group: str = "parts", coarse: bool = False) -> Classes:
        """Classes from a JSON file: {"parts": [name, ...], "ignore": 255}; `group` is the key of the list.

        `coarse` joins clothing classes into the groups of `clothing.GROUPS`. Raises UsageError for another
        shape.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(f"the classes cannot be read from {path}: {error}") from error
        names = data.get(group) if isinstance(data, dict) else None
        if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
            lists = [k for k, v in data.items() if isinstance(v, list)] if isinstance(data, dict) else []
            raise UsageError(
                f"{path} has no list of class names called {group!r}; it has {', '.join(lists) or 'none'}"
            )
        ignore = data.get("ignore", 255)
        if type(ignore) is not int or not len(names) <= ignore <= 255:
            raise UsageError(f'"ignore" in {path} must be a whole number from {len(names)} to 255')
        if not coarse:
            return cls(names, ignore)
        try:
            grouped, table = clothing.coarse(names)
        except ValueError as error:
            raise UsageError(f"the classes {group!r} of {path} are not clothing: {error}") from error
        return cls(grouped, ignore, table)

    @classmethod
    def numbered(cls, labels: Iterable[Path], ignore: int = 255) -> Classes:
        """Numbers as names, as many as the label maps use; files that cannot be read are left for later."""
        top = 1
        for path in labels:
            try:
                values = np.unique(read_label(path))
            except PartswapError:
                continue
            top = max(top, int(values[values != ignore].max(initial=0)))
        return cls(["background", *map(str, range(1, top + 1))], ignore)


@dataclass(frozen=True)
class Entry:
    """Where a labelled photo lies; `name` is its path below the folder of photos, without the ending."""

    name: str
    photo: Path
    label: Path
    mask: Path | None = None


def find_entries(
    images: Path,
    labels: Path,
    listed: Path | None = None,
    masks: Path | None = None,
    limit: int | None = None,
) -> list[Entry]:
    """Photos in `images` whose label lies in `labels` (and whose mask lies in `masks`) under the same name,
    sorted.

    listed: a text file with one name or stem a line that restricts them, every one of which must exist.
    limit: at most so many, evenly spread over the list. Raises UsageError where nothing or not all is found.
    """
    photos, truths = _by_name(images), _by_name(labels)
    silhouettes = _by_name(masks) if masks else {}
    names = sorted(photos.keys() & truths.keys())
    if listed is not None:
        names = _listed(listed, names)
    if masks and (bare := [name for name in names if name not in silhouettes]):
        raise UsageError(f"{len(bare)} photos have no mask in {masks}, {bare[0]} for instance")
    if not names:
        raise UsageError(f"no photo in {images} has a label of the same name in {labels}")
    if limit is not None and limit < len(names):
        names = [names[i * len(names) // limit] for i in range(limit)]
    return [Entry(name, photos[name], truths[name], silhouettes.get(name)) for name in names]


def _by_name(folder: Path) -> dict[str, Path]:
    """Images of a folder by their path without the ending; two with the same name are a UsageError."""
    if not os.path.isdir(folder):
        raise UsageError(f"{folder} is not a folder")
    found: dict[str, Path] = {}
    for path in list_images(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise UsageError(
                f"{found[name]} and {path.name} share a name, so it is unclear which one is meant"
            )
        found[name] = path
    return found


def _listed(path: Path, names: list[str]) -> list[str]:
    """The names that a list file asks for, in its order, each once."""
    try:
        wanted = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list {path} cannot be read: {error}") from error
    known = {name.rsplit("/", 1)[-1]: name for name in names} | {name: name for name in names}
    missing = [word for word in wanted if word not in known]
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(wanted)} names in {path} have no labelled photo, "
            f"{missing[0]} for instance"
        )
    return list(dict.fromkeys(known[word] for word in wanted))


def read_label(path: Path) -> NDArray[np.uint8]:
    """A label map uint8 (H, W) from an 8-bit grey or palette image, value = class. Raises ImageError."""
    try:
        return load_label_map(path)
    except ImageError as error:
        raise ImageError(f"the label map cannot be read: {error}") from error


def read_photo(entry: Entry, classes: Classes) -> Photo:
    """Read one labelled photo. Raises ImageError if a file cannot be read or a label value is no class."""
    label = read_label(entry.label)
    if classes.table is not None:
        label = np.where(label == classes.ignore, label, classes.table[label])
    values = label[label != classes.ignore]
    if values.size and int(values.max()) >= len(classes.names):
        raise ImageError(
            f"{entry.label} holds the value {int(values.max())}, "
            f"but the classes are 0 to {len(classes.names) - 1}"
        )
    rgb = load_image(entry.photo).rgb
    height, width = label.shape
    # Half a pixel of rounding is fine; a turned or cropped label would be scored against the wrong pixels.
    if abs(rgb.shape[1] / rgb.shape[0] * height - width) > max(1.0, 0.02 * width):
        raise ImageError(
            f"{entry.label} ({width}x{height}) has another shape than its photo "
            f"({rgb.shape[1]}x{rgb.shape[0]})"
        )
    mask = None if entry.mask is None else load_mask(entry.mask, (width, height)) > 127
    return Photo(entry.name, rgb, label, mask)


def read_photos(
    entries: Iterable[Entry], classes: Classes, failed: Callable[[Entry, PartswapError], None]
) -> Iterator[Photo]:
    """Photos one at a time; one that cannot be read is handed to `failed` and skipped."""
    for entry in entries:
        try:
            photo = read_photo(entry, classes)
        except PartswapError as error:
            failed(entry, error)
            continue
        yield photo

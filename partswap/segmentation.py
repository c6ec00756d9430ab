"""The Python API of segmentation: a `Model` turns photos into `Segmentation`s.

A segmentation keeps the part map at the net's resolution (a few megabytes); everything at the photo's own
size is made when asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import numpy as np

from partswap.appearance import drawn_to_appearance
from partswap.checkpoint import Checkpoint, read_checkpoint, resolve_model
from partswap.closer import looked_at_closer
from partswap.crossings import with_crossings
from partswap.engine import Engine, open_engine
from partswap.errors import ModelError
from partswap.imaging import Frame, LoadedImage, fit, load_image
from partswap.imaging.guided import snapped_labels
from partswap.imaging.rle import label_runs
from partswap.islands import without_islands, without_second_pieces, without_strips
from partswap.parts import Parts
from partswap.turning import part_maps_in_turns

if TYPE_CHECKING:
    from partswap.imaging.load import ImageSource

__all__ = ["Model", "Prepared", "Segmentation", "load", "segment"]


@dataclass(frozen=True)
class Segmentation:
    """The parts of one photo.

    part_map: float32 (K+1, h, w) at the net's resolution, probabilities, channel 0 background; `frame` says
    how it lies over the photo. ids: the parts that are kept, all of them unless `only` left some out. source:
    what ran: `device`, `engine`, `model`, `revision`.
    """

    image: LoadedImage
    part_map: np.ndarray
    frame: Frame
    parts: Parts
    ids: tuple[int, ...]
    source: dict[str, str]

    def __post_init__(self) -> None:
        """Raises ModelError where the net gave NaN: finite weights can still be too large to compute with."""
        if not np.isfinite(self.part_map).all():
            raise ModelError(
                f"the model {self.source.get('model')} gives no numbers for {self.image.name}; "
                "its weights or its config.json are damaged"
            )

    @cached_property
    def labels(self) -> np.ndarray:
        """The label map: uint8 (H, W) at the photo's size, pixel = part id, 0 background (or a part left
        out). Its outline follows the photo's edges."""
        labels = snapped_labels(self.image.rgb, self.part_map, self.frame)
        if len(self.ids) == len(self.parts):
            return labels
        kept = np.zeros(256, np.uint8)
        kept[list(self.ids)] = self.ids
        return kept[labels]

    def only(self, parts: str | Iterable[str | int]) -> Segmentation:
        """The same photo with only some parts, by name or id: `"chest,arm"`, `[3, 7]`; the others become
        background."""
        return replace(self, ids=self.parts.parse(parts))

    def mask(self, *parts: str | int) -> np.ndarray:
        """Where the photo shows any of these parts, by name or id: bool (H, W). No part at all means all of
        them."""
        wanted = self.parts.parse(parts) if parts else self.ids
        return np.isin(self.labels, wanted)

    def probability(self, *parts: str | int) -> np.ndarray:
        """The summed probability of these parts: float32 (H, W), 0..1. No part at all means all of them."""
        return self.frame.channel(self.part_map, self.parts.parse(parts) if parts else self.ids)

    def overlay(self, of_clip: bool = False) -> np.ndarray:
        """The photo with tinted parts and a legend: uint8 (H, W, 3).

        of_clip: the legend stands still from frame to frame, with every part that is kept.
        """
        from partswap.imaging.draw import overlay

        names = {part.id: part.name for part in self.parts if part.id in self.ids}
        colors = {part.id: part.color for part in self.parts}
        return overlay(self.image.rgb, self.labels, names, colors, still=of_clip)

    def cutout(self, *parts: str | int) -> np.ndarray:
        """These parts cut out of the photo: uint8 (H, W, 4), RGBA, colour zero where alpha is zero.

        Alpha is 255 inside the parts, or the photo's own alpha where it has one.
        """
        mask = self.mask(*parts)
        alpha = np.where(mask, 255 if self.image.alpha is None else self.image.alpha, 0).astype(np.uint8)
        rgba = np.dstack((self.image.rgb, alpha))
        rgba[alpha == 0] = 0
        return rgba

    def probabilities(self) -> tuple[np.ndarray, tuple[int, ...]]:
        """Part map float16 (n, h, w) of background and the kept parts without the net's padding, and the n
        ids.

        It covers the whole photo exactly: resize it to the photo's size (bilinear) to lay it over.
        """
        ids = (0, *self.ids)
        height, width = self.frame.content
        return self.part_map[list(ids), :height, :width].astype(np.float16), ids

    def record(self) -> dict[str, Any]:
        """What `--json` prints: size, what ran, and per part its id, name, pixels, share, box and COCO run
        lengths.

        share: of the photo's pixels. box: [x0, y0, x1, y1), None for a part that is not in the photo.
        """
        labels = self.labels
        height, width = labels.shape
        runs = label_runs(labels, len(self.parts))
        pixels = np.bincount(labels.ravel(), minlength=256)
        parts = [
            {
                "id": part_id,
                "name": self.parts.name(part_id),
                "pixels": int(pixels[part_id]),
                "share": round(float(pixels[part_id]) / labels.size, 6),
                "box": _box(labels == part_id) if pixels[part_id] else None,
                "rle": runs[part_id - 1],
            }
            for part_id in self.ids
        ]
        return {"width": width, "height": height, **self.source, "parts": parts}


@dataclass(frozen=True)
class Prepared:
    """A photo on its way to the net. pixels: uint8 (h, w, 3), the net's input; `frame` says how it shows the
    photo."""

    image: LoadedImage
    pixels: np.ndarray
    frame: Frame


class Model:
    """A checkpoint that is loaded and ready to run; `partswap.load` makes one.

    photos: whether what it sees are photos, not the frames of a clip. Photos that the net is unsure of are
    offered to it turned as well (`partswap.turning`), small parts are looked at from near
    (`partswap.closer`), parts keep to their colours (`partswap.appearance`), bare limbs may lie before the
    body (`partswap.crossings`), and are no islands and no strips, nor is there a second head in them
    (`partswap.islands`). quick: the net looks at each photo once, neither turned nor from near.
    """

    def __init__(
        self, checkpoint: Checkpoint, engine: Engine, photos: bool = True, quick: bool = False
    ) -> None:
        self.checkpoint = checkpoint
        self.engine = engine
        self.photos = photos
        self.quick = quick

    @property
    def parts(self) -> Parts:
        return self.checkpoint.parts

    def for_frames(self) -> Model:
        """The same model for the frames of a clip, which would be taken one way up now and another then."""
        return Model(self.checkpoint, self.engine, photos=False)

    def for_transfer(self) -> Model:
        """The same model without nearer looks: what comes of narrower collars and shoes is nearer to the
        target's outline and further from the source's colour (docs/transfer.md)."""
        config = replace(self.checkpoint.config, closer=())
        return Model(replace(self.checkpoint, config=config), self.engine, self.photos, self.quick)

    @property
    def source(self) -> dict[str, str]:
        """What runs, for records: device, engine, with ONNX Runtime its providers, model (its name), revision
        (of its weights), and for a model from the hub also hub (`owner/name`) and commit."""
        providers = ",".join(self.engine.providers)
        return {
            "device": self.engine.device,
            "engine": self.engine.name,
            **({"providers": providers} if providers else {}),
            **self.checkpoint.identity,
        }

    def segment(self, image: ImageSource | LoadedImage) -> Segmentation:
        """Segment a photo: a path, bytes, an open file, a PIL image or a uint8 array (H, W), (H, W, 3) or (H,
        W, 4).

        Raises ImageError for what cannot be read.
        """
        prepared = self.prepare(image)
        return self.found(prepared, self.part_maps(prepared.pixels[None])[0])

    def part_maps(self, batch: np.ndarray) -> np.ndarray:
        """The net's part maps float32 (n, K+1, h, w) of prepared pixels uint8 (n, h, w, 3)."""
        once = self.quick or not self.photos
        return self.engine.run(batch) if once else part_maps_in_turns(self.engine.run, batch)

    def prepare(self, image: ImageSource | LoadedImage) -> Prepared:
        """Read a photo and scale it for the net; raises as `segment`."""
        loaded = image if isinstance(image, LoadedImage) else load_image(image)
        config = self.checkpoint.config
        pixels, frame = fit(loaded.rgb, config.input_long_side, config.multiple)
        return Prepared(loaded, pixels, frame)

    def found(self, prepared: Prepared, part_map: np.ndarray) -> Segmentation:
        """What the net's part map float32 (K+1, h, w) says about a photo."""
        ids = tuple(range(1, len(self.parts) + 1))
        if self.photos:
            config = self.checkpoint.config
            limbs = config.limbs
            if not self.quick:
                part_map = looked_at_closer(
                    part_map,
                    prepared.image.rgb,
                    prepared.frame,
                    config.closer,
                    self.engine.run,
                    config.multiple,
                )
            part_map = drawn_to_appearance(part_map, prepared.pixels)
            part_map = with_crossings(part_map, prepared.pixels, limbs)
            for mend in (without_islands, without_second_pieces, without_strips):
                part_map = mend(part_map, limbs)
        return Segmentation(prepared.image, part_map, prepared.frame, self.parts, ids, self.source)

    def segment_many(self, images: Iterable[ImageSource | LoadedImage]) -> Iterator[Segmentation]:
        """Segment photos in threads ahead of the one that is asked for, in their order.

        Only a few are in memory at a time, however many there are. Raises as `segment`, when the photo's turn
        comes; the photos after it are not reached.
        """
        from partswap.pipeline import segmented

        for _, outcome in segmented(self, images, lambda image: image, lambda _, found: found):
            yield outcome.result()


def load(
    model: str | PathLike[str] | None = None,
    device: str = "auto",
    engine: str = "auto",
    quiet: bool = False,
    quick: bool = False,
) -> Model:
    """Load a model: None for the embedded one, a folder, an embedded name, or a hub id
    `owner/name[@revision]`.

    device: auto, cpu, cuda, cuda:N, tensorrt or mps. engine: auto, onnx or torch. quiet: no progress on
    stderr while a model is downloaded. quick: as of `Model`. Raises ModelError, DeviceError or UsageError.
    """
    checkpoint = read_checkpoint(resolve_model(model, quiet))
    return Model(checkpoint, open_engine(checkpoint, engine, device), quick=quick)


def segment(image: ImageSource | LoadedImage, model: str | PathLike[str] | None = None) -> Segmentation:
    """Segment one photo; the last model used stays loaded. See `Model.segment` and `load`."""
    return _loaded(None if model is None else fspath(model)).segment(image)


@lru_cache(maxsize=1)
def _loaded(model: str | None) -> Model:
    return load(model)


def _box(mask: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]

"""Two photos, registered once: several transfers between them share the work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from partswap.errors import UsageError
from partswap.imaging.frame import scaled
from partswap.imaging.guided import snapped_labels
from partswap.imaging.load import LoadedImage
from partswap.parts import Parts
from partswap.segmentation import Segmentation
from partswap.transfer.colour import in_space_of
from partswap.transfer.compose import compose
from partswap.transfer.correspond import Correspondence, correspond
from partswap.transfer.grants import Grants
from partswap.transfer.layers import Layer, Route, Subject, merged
from partswap.transfer.people import keep_person
from partswap.transfer.plan import Names, Wish, is_all, wishes
from partswap.transfer.record import Clock, part_record
from partswap.transfer.render import render
from partswap.transfer.silhouette import border_width, working_frame
from partswap.transfer.trust import trust
from partswap.transfer.view import View, crop_person

if TYPE_CHECKING:
    from partswap.engine import Engine

__all__ = ["Options", "Pair", "Transferred", "as_subject"]


@dataclass(frozen=True)
class Options:
    """How to transfer.

    strength: 0 nothing .. 1 all. border: pixels at 800 px height that may change outside the parts, 0..4;
    None is 3. seed: of the grain on filled areas. Raises UsageError for values out of range.
    """

    strength: float = 1.0
    border: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise UsageError(f"the strength must be from 0 to 1, not {self.strength}")
        if self.border is not None and not 0 <= self.border <= 4:
            raise UsageError(f"the border must be from 0 to 4 pixels, not {self.border}")
        if self.seed < 0:
            raise UsageError(f"the seed must be 0 or more, not {self.seed}")


@dataclass(frozen=True)
class Transferred:
    """The picture and what was done.

    image: uint8 (H, W, 3), the target's size. record: see `transfer`; plain Python values. target: the photo
    that was changed, whose alpha and colour profile go with the picture. notes: sentences for a person.
    """

    image: np.ndarray
    record: dict[str, Any]
    target: LoadedImage
    notes: tuple[str, ...] = ()

    def save(self, path: str | PathLike[str], *, quality: int = 95, overwrite: bool = False) -> None:
        """Write the picture with the target's alpha and colour profile; the suffix chooses the format."""
        from partswap.imaging.save import save_image

        save_image(
            self.image,
            path,
            icc=self.target.icc,
            alpha=self.target.alpha,
            quality=quality,
            overwrite=overwrite,
        )


class Pair:
    """Two segmented photos, registered once; several transfers between them share the work."""

    def __init__(
        self,
        source: Segmentation,
        target: Segmentation,
        engine: Engine | None = None,
        person: int = 1,
        source_person: int = 1,
        clock: Clock | None = None,
    ) -> None:
        """engine: whose renderer may paint what the source hardly shows; None: nothing is painted.

        Raises UsageError when a photo does not show such a person, or the models have other parts.
        """
        if source.parts != target.parts:
            raise UsageError("source and target were segmented by models with other parts; use one model")
        self.source, self.target, self.engine = source, target, engine
        self.clock = clock or Clock()
        self.people = {"person": person, "source_person": source_person}
        with self.clock("segment"):
            self.subjects = (
                replace(as_subject(source, source_person), rgb=in_space_of(source.image, target.image)),
                as_subject(target, person),
            )
        self._routes: dict[tuple[object, ...], Route] = {}
        self._pictures: dict[tuple[tuple[int, int], ...], np.ndarray | None] = {}

    @property
    def parts(self) -> Parts:
        return self.target.parts

    @cached_property
    def _views(self) -> tuple[View, View]:
        first, second = (crop_person(s.part_map, s.content, s.photo) for s in self.subjects)
        return first, second

    def transfer(
        self, names: Names, to: Names | None, options: Options, picky: bool | None = None
    ) -> Transferred:
        """See `partswap.transfer`. picky: whether a part that the source does not show is an error; None: it
        is, unless "all" was asked for."""
        asked = wishes(self.parts, names, to)
        grants = Grants(self, options, asked, picky=not is_all(names) if picky is None else picky)
        done = [(wish, grants.layers(wish)) for wish in asked]
        layers = [layer for _, some in done for layer in some]
        ids = tuple(sorted({i for wish, some in done if some for i in wish.target}))
        border = border_width(self.subjects[1].photo, options.border)
        with self.clock("compose"):
            image = compose(
                self.subjects[1],
                merged(layers),
                ids,
                source=self.subjects[0].rgb,
                border=border,
                strength=options.strength,
                seed=options.seed,
            )
        return Transferred(
            image, self._record(done, grants, options, border), self.target.image, grants.notes
        )

    def route(self, wish: Wish, flipped: bool = False) -> Route:
        """How a wish finds its source.

        Whole bodies are registered where a part goes to the same part; otherwise the two parts alone, the
        source mirrored if `flipped`.
        """
        same = wish.source == wish.target
        key = () if same else (wish, flipped)
        if key not in self._routes:
            with self.clock("register"):
                views = self._views if same else self._alone(wish)
                pairs = [(i, i) for i in range(1, len(views[0].maps))]
                found = _register(views, pairs, flipped)
                groups = [self.parts.ids(name) for name in self.parts.names] if same else [(1,)]
                trusted = trust(*views, found.field, groups)
                self._routes[key] = Route(views, found, trusted, None if same else (1,), flipped)
        return self._routes[key]

    def rendered(self, wish: Wish) -> np.ndarray | None:
        """The whole target as the renderer paints it with the source's looks: float32 (h, w, 3), 0..255, at
        the target's working size; None without a renderer."""
        changed = {t: s for t, s in zip(wish.target, wish.source, strict=False) if t != s}
        key = tuple(changed.items())
        if key not in self._pictures:
            with self.clock("render"):
                picture = None if self.engine is None else render(self.engine, *self.subjects, changed)
                size = working_frame(self.subjects[1].photo).content
                self._pictures[key] = None if picture is None else scaled(picture.astype(np.float32), size)
        return self._pictures[key]

    def _alone(self, wish: Wish) -> tuple[View, View]:
        views = []
        for subject, ids in zip(self.subjects, (wish.source, wish.target), strict=True):
            part = subject.part_map[list(ids)].sum(axis=0)
            views.append(crop_person(np.stack([1 - part, part]), subject.content, subject.photo))
        return views[0], views[1]

    def _record(
        self, done: list[tuple[Wish, list[Layer]]], grants: Grants, options: Options, border: float
    ) -> dict[str, Any]:
        height, width = self.subjects[1].photo
        return {
            "source": self.source.image.name,
            "target": self.target.image.name,
            "width": width,
            "height": height,
            **self.target.source,
            "parts": [part_record(wish, some, self.subjects) for wish, some in done if some],
            "missing": grants.missing,
            "notes": list(grants.notes),
            "strength": options.strength,
            "border_pixels": round(border, 3),
            "seed": options.seed,
            **self.people,
            "seconds": self.clock.rounded(),
        }


def as_subject(segmentation: Segmentation, person: int) -> Subject:
    """One person of a segmented photo, everybody else made background; raises UsageError as `keep_person`."""
    part_map = keep_person(segmentation.part_map, segmentation.frame.content, person)
    image = segmentation.image
    labels = snapped_labels(image.rgb, part_map, segmentation.frame)
    return Subject(image.rgb, part_map, segmentation.frame.content, labels, image.alpha)


def _register(views: tuple[View, View], pairs: list[tuple[int, int]], flipped: bool) -> Correspondence:
    source, target = views
    if not flipped:
        return correspond(source, target, pairs)
    mirrored = replace(source, maps=np.ascontiguousarray(source.maps[:, :, ::-1]))
    found = correspond(mirrored, target, pairs)
    back = found.field.copy()
    back[..., 0] = source.size[1] - 1 - back[..., 0]
    return replace(found, field=back, mirrored=[])

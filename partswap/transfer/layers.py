"""One layer per named part: where to look, the cleaned cut-out of the source to look at, and how much it
counts at each target pixel."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from partswap.imaging.frame import scaled
from partswap.imaging.guided import foreground_share
from partswap.imaging.opencv import opencv
from partswap.transfer.correspond import Correspondence
from partswap.transfer.fill import FILLED, MIRRORED, REAL, Cleaned, clean
from partswap.transfer.silhouette import outline, part_matte, working_frame
from partswap.transfer.view import View, interpolate
from partswap.transfer.warp import Patch, field_scale, patch_box, reduction

__all__ = ["Layer", "Route", "Shown", "Subject", "doubted", "merged", "part_layers", "rendered_layer"]

_ERODE = 2 / 830  # of the source's longer side: the rim mixes with what lies behind
_TOLERANCE = (
    0.03  # of it: so far a part may look into chosen neighbours, which keeps prints whole across seams
)
_OWN = 0.2  # of the square root of its area: nor further than this
_REACH = 0.12  # of it: mirroring further than this shows its trick
_SURE = 0.6  # matte of the source from which a pixel counts as the part
_SOFT = 2.0  # blur of the weights in working pixels: the seam between two parts


@dataclass(frozen=True)
class Subject:
    """One person of one photo, ready for transfer.

    rgb: uint8 (H, W, 3). part_map: float32 (K+1, h, w), only this person. content: (h, w) that shows the
    photo. labels: uint8 (H, W) at the photo's size. alpha: uint8 (H, W) or None.
    """

    rgb: np.ndarray
    part_map: np.ndarray
    content: tuple[int, int]
    labels: np.ndarray
    alpha: np.ndarray | None
    _mattes: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def photo(self) -> tuple[int, int]:
        return self.labels.shape[0], self.labels.shape[1]

    def summed(self, ids: tuple[int, ...]) -> np.ndarray:
        """Probability of some parts, float32 (h, w) of the content."""
        return self.part_map[list(ids), : self.content[0], : self.content[1]].sum(axis=0)

    def matte(self, ids: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """At working size: the `outline` of these parts, and the small photo."""
        if ids not in self._mattes:
            self._mattes.clear()  # one is enough: all parts of a transfer ask for the same
            self._mattes[ids] = self._matte(ids)
        return self._mattes[ids]

    def _matte(self, ids: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        size = working_frame(self.photo).content
        small = scaled(self.rgb, size)
        maps = self.part_map[:, : self.content[0], : self.content[1]]
        person = foreground_share(maps)
        chosen = person * self.summed(ids) / np.maximum(maps[1:].sum(axis=0), 1e-9)
        person, chosen = (np.clip(scaled(plane, size), 0, 1) for plane in (person, chosen))
        return outline(small, person, chosen), small


@dataclass(frozen=True)
class Route:
    """How one part finds its source.

    views: crops of source and target. found: the field between them. trusted: float32 (h, w) on the target's
    map, 0..1, how far the field can be believed. channels: of the target's view that show the part; None are
    its ids. flipped: the source's part is the mirrored counterpart.
    """

    views: tuple[View, View]
    found: Correspondence
    trusted: np.ndarray
    channels: tuple[int, ...] | None = None
    flipped: bool = False

    def presence(self, ids: tuple[int, ...]) -> np.ndarray:
        """Where the target's map shows a part: float32 (h, w)."""
        return self.views[1].maps[list(self.channels or ids)].sum(axis=0)

    def doubt(self, ids: tuple[int, ...]) -> float:
        """The share of a part, 0..1, that the field cannot be trusted with."""
        here = self.presence(ids)
        return float(((1 - self.trusted) * here).sum() / max(float(here.sum()), 1e-6))


@dataclass(frozen=True)
class Shown:
    """Shares, 0..1, of a layer's target area by the origin of its pixels."""

    real: float = 0.0
    mirrored: float = 0.0
    filled: float = 0.0
    rendered: float = 0.0


@dataclass(frozen=True)
class Layer:
    """The look of one part on its way to the target.

    weight: float32 (h, w) at the target's working size. field, scale: (h, w, 2) source photo positions and
    (h, w, 1) local reduction on the target's `view`. rendered: float32 (h, w, 3) at working size, instead of
    a patch.
    """

    name: str
    weight: np.ndarray
    patch: Patch | None = None
    field: np.ndarray | None = None
    scale: np.ndarray | None = None
    view: View | None = None
    rendered: np.ndarray | None = None
    shown: Shown = Shown()


def part_layers(
    name: str,
    ids: tuple[tuple[int, ...], tuple[int, ...]],
    subjects: tuple[Subject, Subject],
    route: Route,
    chosen: tuple[int, ...],
    seed: int,
) -> list[Layer]:
    """Layers of one named part: the part itself, and each side that only has a mirrored counterpart.

    Args:
        ids: of the part in source and target. subjects: source, target. chosen: all source ids that are
            taken.
    """
    views, found = route.views, route.found
    source, target = subjects
    whole = _weight(target, ids[1])
    presence = route.presence(ids[1])
    # field, weight at working size, presence on the map, whether it looks at the mirrored side
    parts = [(found.field, whole, presence, route.flipped)]
    for side in found.mirrored:
        if side.part in ids[1]:
            share = _share(side.target, presence, target, views[1])
            _, rest, all_sides, _ = parts[0]
            parts[0] = (found.field, rest * (1 - share), all_sides - side.target, route.flipped)
            parts.append((side.field, whole * share, side.target, True))
    fields = [views[0].to_photo(positions) for positions, *_ in parts]
    scales = [field_scale(one, views[1].step) for one in fields]
    factor = min(reduction(scale, presence) for scale in scales)
    patch, cleaned = _patch(source, ids[0], chosen, factor, float(max(s.max() for s in scales)), seed)
    layers = []
    for (_, weight, here, mirrored), one, scale in zip(parts, fields, scales, strict=True):
        seen = _shown(cleaned, patch, one, here, mirrored)
        layers.append(Layer(name, weight, patch, one, scale[..., None], views[1], None, seen))
    return layers


def rendered_layer(name: str, ids: tuple[int, ...], target: Subject, picture: np.ndarray) -> Layer:
    """A layer from the renderer: float32 (h, w, 3), 0..255, at working size."""
    return Layer(name, _weight(target, ids), rendered=picture, shown=Shown(rendered=1.0))


def doubted(layers: list[Layer], route: Route, target: Subject, picture: np.ndarray) -> list[Layer]:
    """The same layers, with the renderer's picture in the place of what the route cannot be trusted with.

    Args:
        layers: of one part, as `part_layers` returns them. picture: float32 (h, w, 3), 0..255, at working
            size.
    """
    first, *others = layers
    sure = first.weight * _on_working(route.trusted, target, route.views[1])
    rest = Layer(first.name, first.weight - sure, rendered=picture, shown=Shown(rendered=1.0))
    return [replace(first, weight=sure), *others, rest]


def merged(layers: list[Layer]) -> list[Layer]:
    """Layers with the same rendered picture made one, which looks the same and costs less."""
    out: list[Layer] = []
    for layer in layers:
        for index, known in enumerate(out):
            if layer.rendered is not None and known.rendered is layer.rendered:
                out[index] = replace(known, weight=known.weight + layer.weight)
                break
        else:
            out.append(layer)
    return out


def _weight(target: Subject, ids: tuple[int, ...]) -> np.ndarray:
    cv2 = opencv()
    size = working_frame(target.photo).content
    soft = cv2.GaussianBlur(scaled(target.summed(ids), size), (0, 0), _SOFT)
    return np.clip(soft, 0, 1) ** 3


def _share(side: np.ndarray, part: np.ndarray, target: Subject, view: View) -> np.ndarray:
    """Which share of the part this side is, float32 at the target's working size."""
    cv2 = opencv()
    share = cv2.GaussianBlur(side, (0, 0), 1.0) / np.maximum(cv2.GaussianBlur(part, (0, 0), 1.0), 1e-3)
    return _on_working(share, target, view)


def _on_working(values: np.ndarray, target: Subject, view: View) -> np.ndarray:
    """A plane (h, w) of the target's map, 0..1, at its working size."""
    size = working_frame(target.photo).content
    rows = (np.arange(size[0]) + 0.5) * target.photo[0] / size[0] - 0.5
    columns = (np.arange(size[1]) + 0.5) * target.photo[1] / size[1] - 0.5
    return np.clip(interpolate(values[..., None], view, rows, columns)[..., 0], 0, 1)


def _patch(
    source: Subject, ids: tuple[int, ...], chosen: tuple[int, ...], factor: float, scale: float, seed: int
) -> tuple[Patch, Cleaned]:
    side = max(source.photo)
    part = np.isin(source.labels, ids)
    x0, y0, x1, y1 = patch_box(part, _TOLERANCE * side)
    crop = np.s_[y0:y1, x0:x1]
    size = (max(1, round((y1 - y0) / factor)), max(1, round((x1 - x0) / factor)))
    rgb = scaled(source.rgb[crop], size)
    valid = _valid(source, (part[crop], np.isin(source.labels[crop], chosen)), (x0, y0, x1, y1), size, chosen)
    cleaned = clean(rgb, valid, _REACH * side / factor, np.random.default_rng(seed))
    factors = ((x1 - x0) / size[1], (y1 - y0) / size[0])
    return Patch.of(cleaned.rgb, (x0, y0), factors, scale), cleaned


def _valid(
    source: Subject,
    masks: tuple[np.ndarray, np.ndarray],
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    chosen: tuple[int, ...],
) -> np.ndarray:
    """Which pixels of the reduced crop surely show the part, bool `size`."""
    cv2 = opencv()
    part, others = (scaled(m.astype(np.uint8) * np.uint8(255), size) > 127 for m in masks)
    pixel = max(source.photo) * size[0] / max(1, box[3] - box[1])  # the photo's longer side in these pixels
    # a hand is hardly larger than what a whole coat may borrow
    reach = min(_TOLERANCE * pixel, _OWN * float(part.sum()) ** 0.5)
    near = cv2.distanceTransform((~part).astype(np.uint8), cv2.DIST_L2, 5) <= reach
    allowed = part | (near & others)
    sure = allowed & (_source_matte(source, chosen, box, size) > _SURE)
    if source.alpha is not None:
        sure &= scaled(source.alpha[box[1] : box[3], box[0] : box[2]], size) > 127
    for candidate in (_eroded(sure, _ERODE * pixel), sure, allowed):
        if (candidate & part).any():
            return candidate
    return np.ones(size, bool)


def _eroded(mask: np.ndarray, by: float) -> np.ndarray:
    cv2 = opencv()
    padded = np.pad(mask.astype(np.uint8), 1, mode="edge")  # the photo's edge cuts a part, it is not its rim
    return cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1] > by


def _source_matte(
    source: Subject, chosen: tuple[int, ...], box: tuple[int, int, int, int], size: tuple[int, int]
) -> np.ndarray:
    cv2 = opencv()
    planes, small = source.matte(chosen)
    whole = part_matte(planes, small)
    sx, sy = small.shape[1] / source.photo[1], small.shape[0] / source.photo[0]
    fx, fy = (box[2] - box[0]) / size[1] * sx, (box[3] - box[1]) / size[0] * sy
    # positions on the small photo of the crop's pixel centres
    affine = np.array([[fx, 0, box[0] * sx + fx / 2 - 0.5], [0, fy, box[1] * sy + fy / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(whole, affine, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _shown(cleaned: Cleaned, patch: Patch, at: np.ndarray, presence: np.ndarray, mirrored: bool) -> Shown:
    height, width = cleaned.origin.shape
    local = (at + 0.5 - np.asarray(patch.corner)) / np.asarray(patch.factor) - 0.5
    x, y = np.rint(local[..., 0]).astype(int), np.rint(local[..., 1]).astype(int)
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    origin = np.full(at.shape[:2], FILLED)
    origin[inside] = cleaned.origin[y[inside], x[inside]]
    here = presence > 0.5
    if not here.any():
        return Shown()
    share = [float((origin[here] == kind).mean()) for kind in (REAL, MIRRORED, FILLED)]
    if mirrored:
        return Shown(0.0, share[0] + share[1], share[2])
    return Shown(*share)

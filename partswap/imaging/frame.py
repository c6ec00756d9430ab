"""From a photo to the net's input and back.

``fit`` scales a photo to the net's size and pads it; the ``Frame`` it returns remembers how, and brings
part maps back to the photo's own pixels. Probabilities are upsampled first and compared afterwards, so
borders are at photo resolution; it happens in horizontal strips, so memory does not grow with photo size x
parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from partswap.imaging.opencv import opencv

__all__ = ["Frame", "fit", "scaled"]

_STRIP_BYTES = (
    2 << 20
)  # of one strip of all channels: small enough to stay in the cache between the passes over it
_BAND_ROWS = 9  # of the part map that a band of labels covers: a lower one shows fewer parts, but costs calls
_BAND_CHANNELS = 4  # that such a band usually has left
_ROUNDING = 1e-5  # far more than interpolating probabilities in float32 can be off


@dataclass(frozen=True)
class Frame:
    """How a photo lies in the net's input: its top left ``content`` is the whole photo, scaled; the rest is
    padding.

    Attributes:
        photo: ``(H, W)`` of the photo, in pixels.
        content: ``(h, w)`` of the scaled photo.
        net: ``(h, w)`` of the net's input, multiples of the net's multiple, at least ``content``.
    """

    photo: tuple[int, int]
    content: tuple[int, int]
    net: tuple[int, int]

    def undo(self, part_map: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Bring a part map back to the photo, strip by strip.

        Args:
            part_map: float ``(C, h, w)`` with ``(h, w)`` equal to ``net``.

        Yields:
            ``(top, strip)``: strip is float32 ``(C, rows, W)`` for the photo's rows ``top .. top + rows``,
                from the top
            down, without gaps. Interpolation is bilinear between pixel centres (area average where the
            photo is smaller than the net's input), so values stay within those of ``part_map``.

        Raises:
            ValueError: ``part_map`` is of another shape.
        """
        content = self._content_of(part_map)
        height, width = self.photo
        channels = len(content)
        rows = max(1, _STRIP_BYTES // (4 * channels * width))
        above, below, weight = _taps(height, content.shape[1])
        for top in range(0, height, rows):
            span = slice(top, min(top + rows, height))
            yield top, _widened(_between(content, above[span], below[span], weight[span]), width)

    def labels(self, part_map: np.ndarray) -> np.ndarray:
        """Return the label map at photo size: uint8 ``(H, W)``, the channel of the largest upsampled
        probability.

        Args:
            part_map: float ``(C, h, w)`` of ``net`` size, C from 1 to 256. Ties go to the lower channel.
        """
        if not 1 <= len(part_map) <= 256:
            raise ValueError(f"a label map holds 1..256 channels, not {len(part_map)}")
        content = self._content_of(part_map)
        height, width = self.photo
        above, below, weight = _taps(height, content.shape[1])
        rows = min(_STRIP_BYTES // (4 * _BAND_CHANNELS * width), _BAND_ROWS * height // content.shape[1])
        rows = max(1, rows)
        out = np.empty(self.photo, np.uint8)
        for top in range(0, height, rows):
            span = slice(top, min(top + rows, height))
            ids = _contenders(content[:, above[span.start] : below[span.stop - 1] + 1])
            if len(ids) == 1:
                out[span] = ids[0]
                continue
            strip = _widened(_between(content[ids], above[span], below[span], weight[span]), width)
            out[span] = ids[_argmax(strip)]
        return out

    def channel(self, part_map: np.ndarray, ids: Sequence[int]) -> np.ndarray:
        """Return the summed probability of some channels at photo size: float32 ``(H, W)``.

        Args:
            part_map: float ``(C, h, w)`` of ``net`` size.
            ids: channels to add up, 0..C-1, repeats counted once; none gives zeros.

        Raises:
            ValueError: an id without a channel, or ``part_map`` of another shape.
        """
        chosen = sorted(set(ids))
        if chosen and not 0 <= chosen[0] <= chosen[-1] < len(part_map):
            raise ValueError(f"channels {chosen} are not all within 0..{len(part_map) - 1}")
        # adding and interpolating commute, so the sum is made while the map is small
        return self.probabilities(np.asarray(part_map)[chosen].sum(axis=0, dtype=np.float32, keepdims=True))[
            0
        ]

    def probabilities(self, part_map: np.ndarray) -> np.ndarray:
        """Return the part map at photo size: float32 ``(C, H, W)``; for large photos prefer ``undo``."""
        out = np.empty((len(part_map), *self.photo), np.float32)
        for top, strip in self.undo(part_map):
            out[:, top : top + strip.shape[1]] = strip
        return out

    def _content_of(self, part_map: np.ndarray) -> np.ndarray:
        """Cut the padding off, and reduce what is larger than the photo: float32 (C, h, w)."""
        part_map = np.asarray(part_map)
        if part_map.ndim != 3 or part_map.shape[1:] != self.net:
            raise ValueError(f"the part map must be (C, {self.net[0]}, {self.net[1]}), not {part_map.shape}")
        height, width = self.content
        content = np.ascontiguousarray(part_map[:, :height, :width], dtype=np.float32)
        small = (min(height, self.photo[0]), min(width, self.photo[1]))
        if small == self.content:
            return content
        cv2 = opencv()
        return np.stack(
            [cv2.resize(one, small[::-1], interpolation=cv2.INTER_AREA).reshape(small) for one in content]
        )


def fit(rgb: np.ndarray, long_side: int, multiple: int) -> tuple[np.ndarray, Frame]:
    """Scale a photo so that its longer side is ``long_side``, and pad it to what the net takes.

    The aspect is kept to the nearest pixel; sides of extreme photos are at least one pixel before padding.
    Reducing averages areas, enlarging is bilinear. Padding is at the right and bottom and repeats the edge.

    Args:
        rgb: uint8 ``(H, W, 3)``, any size from 1 x 1.
        long_side: of the scaled photo, in pixels, at least 1.
        multiple: each side of the result is a multiple of it (so at least it), at least 1.

    Returns:
        uint8 ``(h, w, 3)``, C-contiguous, and the frame that undoes it.

    Raises:
        ValueError: another shape or dtype, or sizes below 1.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ValueError(f"a photo must be uint8 (H, W, 3), not {rgb.dtype} {rgb.shape}")
    if long_side < 1 or multiple < 1:
        raise ValueError(f"long_side and multiple must be at least 1, not {long_side} and {multiple}")
    height, width = rgb.shape[:2]
    scale = long_side / max(height, width)
    content = (max(1, round(height * scale)), max(1, round(width * scale)))
    net = (-(-content[0] // multiple) * multiple, -(-content[1] // multiple) * multiple)
    frame = Frame((height, width), content, net)
    small = scaled(rgb, content)
    padding = ((0, net[0] - content[0]), (0, net[1] - content[1]), (0, 0))
    return np.ascontiguousarray(np.pad(small, padding, mode="edge")), frame


def scaled(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H, W) or (H, W, C) to (h, w): area average down, bilinear up; keeps the dtype."""
    if rgb.shape[:2] == size:
        return rgb
    cv2 = opencv()
    down = size[0] <= rgb.shape[0] and size[1] <= rgb.shape[1]
    how = cv2.INTER_AREA if down else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(rgb), size[::-1], interpolation=how)


def _taps(fine: int, coarse: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each fine row, centres aligned: the coarse rows above and below it, and the weight below."""
    at = (np.arange(fine, dtype=np.float64) + 0.5) * (coarse / fine) - 0.5
    at = np.clip(at, 0, coarse - 1)
    above = np.floor(at).astype(np.intp)
    return above, np.minimum(above + 1, coarse - 1), (at - above).astype(np.float32)


def _between(content: np.ndarray, above: np.ndarray, below: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Interpolate rows: (C, h, w) to (C, rows, w)."""
    upper = content[:, above]
    lower = content[:, below]
    lower -= upper
    lower *= weight[:, None]
    upper += lower
    return upper


def _widened(strip: np.ndarray, width: int) -> np.ndarray:
    """Interpolate columns, (C, rows, w) to (C, rows, width), in one call, since rows do not mix here."""
    channels, rows, narrow = strip.shape
    if narrow == width:
        return strip
    cv2 = opencv()
    flat = cv2.resize(
        strip.reshape(channels * rows, narrow), (width, channels * rows), interpolation=cv2.INTER_LINEAR
    )
    return flat.reshape(channels, rows, width)


def _contenders(band: np.ndarray) -> np.ndarray:
    """The channels that may win somewhere in a band (C, rows, w) of the part map, uint8, ascending.

    Interpolated values lie between those of the pixels around: between two columns, a channel whose largest
    value there is below another's smallest cannot win.
    """
    high, low = band.max(axis=1), band.min(axis=1)
    if band.shape[2] > 1:
        high = np.maximum(high[:, :-1], high[:, 1:])
        low = np.minimum(low[:, :-1], low[:, 1:])
    return np.flatnonzero((high >= low.max(axis=0) - _ROUNDING).any(axis=1)).astype(np.uint8)


def _argmax(strip: np.ndarray) -> np.ndarray:
    """The arg max of (C, rows, W) as uint8 (rows, W); NumPy's own is several times slower."""
    best = strip[0].copy()
    larger = np.empty(best.shape, np.bool_)
    out = np.zeros(best.shape, np.uint8)
    for index in range(1, len(strip)):
        np.greater(strip[index], best, out=larger)
        np.maximum(best, strip[index], out=best)
        np.copyto(out, np.uint8(index), where=larger)
    return out

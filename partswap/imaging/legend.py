"""A legend of colour swatches and names, laid over a picture where it hides the least."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["draw_legend", "font"]

Color = tuple[int, int, int]
Entry = tuple[str, Color]

_SMALLEST_TEXT = 9  # pixels; below it letters cannot be read
_LARGEST_SHARE = 0.25  # of the picture that a legend may cover
_LONGEST_NAME = 24
_HIDDEN = 0.02  # of a legend that may lie over what should stay in sight without ado
_SHRUNK = 0.6  # of the wanted text is the least that is tried to hide less
_CLEARLY = 0.9  # of what is hidden at most is left by smaller text
_CORNERS = 4  # places come first
_ALONG = 16  # places are tried so many times along each edge
_COARSE = 128  # pixels of the longer side at which they are compared
_PANEL = (18, 20, 26)
_PANEL_OPACITY = 0.78
_TEXT = (244, 245, 248)
_SMOOTHING = 4  # shapes are drawn this much larger and reduced, since Pillow's have hard edges


@dataclass(frozen=True)
class _Layout:
    """Where the parts of a legend go, in pixels; every length follows from the text size."""

    text: int
    columns: int
    rows: int
    column_widths: tuple[int, ...]

    @property
    def pad(self) -> int:
        return max(3, round(0.7 * self.text))

    @property
    def swatch(self) -> int:
        return max(6, round(0.9 * self.text))

    @property
    def row_height(self) -> int:
        return round(1.5 * self.text)

    @property
    def gap(self) -> int:
        return self.text

    @property
    def margin(self) -> int:
        return max(2, round(0.6 * self.text))

    @property
    def width(self) -> int:
        return 2 * self.pad + sum(self.column_widths) + self.gap * (self.columns - 1)

    @property
    def height(self) -> int:
        return 2 * self.pad + self.rows * self.row_height - round(0.5 * self.text)


@functools.lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own typeface at ``size`` pixels, or its one bitmap font where FreeType is missing."""
    try:
        return ImageFont.load_default(size)
    except (ImportError, OSError):
        return ImageFont.load_default()


def draw_legend(picture: np.ndarray, entries: Sequence[Entry], busy: np.ndarray) -> None:
    """Draw a legend into ``picture``, along the edge where it covers the least of ``busy``.

    Text grows with the picture and is never smaller than 9 pixels: where not all names fit at that size,
    the first ones are shown; where none fits, the picture stays as it is. Where it would cover what is busy
    it is set smaller, or in other columns, if that covers less.

    Args:
        picture: uint8 ``(H, W, 3)``, changed in place.
        entries: ``(name, color)`` from the most to the least important.
        busy: bool ``(H, W)``, what should stay in sight.
    """
    height, width = picture.shape[:2]
    layout, shown = _choose(list(entries), height, width)
    if layout is None:
        return
    layout, top, left = _quietest(layout, shown, busy)
    window = picture[top : top + layout.height, left : left + layout.width]
    window[:] = _panel(window, layout, shown)


def _choose(entries: list[Entry], height: int, width: int) -> tuple[_Layout | None, list[Entry]]:
    """Find the largest text at which all entries fit, else the most entries that fit at the smallest text."""
    entries = [(_shortened(name), color) for name, color in entries]
    size = 0.02 * math.sqrt(height * width) + 0.006 * max(height, width)
    wanted = max(_SMALLEST_TEXT, round(min(size, 0.16 * min(height, width))))
    while entries:
        text = wanted
        while text >= _SMALLEST_TEXT:
            layout = _fitting(entries, text, height, width)
            if layout is not None:
                return layout, entries
            text = min(text - 1, round(0.9 * text))
        wanted = _SMALLEST_TEXT
        entries = entries[:-1]
    return None, []


def _fitting(entries: Sequence[Entry], text: int, height: int, width: int) -> _Layout | None:
    """Return the layout with the fewest columns that fits into the picture and leaves most of it free."""
    return next(_layouts(entries, text, height, width), None)


def _layouts(entries: Sequence[Entry], text: int, height: int, width: int) -> Iterator[_Layout]:
    """Yield the layouts that fit into the picture and leave most of it free, the fewest columns first."""
    widths = [round(1.4 * text) + _text_width(name, text) for name, _ in entries]
    for columns in range(1, len(entries) + 1):
        rows = -(-len(entries) // columns)
        if rows * (columns - 1) >= len(entries):
            continue  # the last column would be empty
        per_column = tuple(max(widths[i * rows : (i + 1) * rows]) for i in range(columns))
        layout = _Layout(text, columns, rows, per_column)
        if layout.width + 2 * layout.margin > width:
            return  # more columns are only wider
        low = layout.height + 2 * layout.margin <= height
        if low and layout.width * layout.height <= _LARGEST_SHARE * height * width:
            yield layout


def _quietest(wanted: _Layout, entries: Sequence[Entry], busy: np.ndarray) -> tuple[_Layout, int, int]:
    """Return the layout, top and left that hide the least: the wanted one in a corner if that hides hardly
    anything, else along the edges, and with smaller text if need be."""
    height, width = busy.shape
    step = max(1, min(max(height, width) // _COARSE, wanted.text // 4))
    coarse = busy[::step, ::step]
    total = np.zeros((coarse.shape[0] + 1, coarse.shape[1] + 1), np.int64)
    total[1:, 1:] = coarse.cumsum(0, dtype=np.int64).cumsum(1)
    little = _HIDDEN * wanted.width * wanted.height
    least, best = math.inf, (wanted, 0, 0)
    text = wanted.text
    while text >= max(_SMALLEST_TEXT, _SHRUNK * wanted.text):
        for layout in _layouts(entries, text, height, width):
            tops, lefts = _places(layout, height, width)
            above, before = tops // step, lefts // step
            below, after = -(-(tops + layout.height) // step), -(-(lefts + layout.width) // step)
            hidden = total[below, after] - total[above, after] - total[below, before] + total[above, before]
            cost = hidden * step**2 + (little if layout != wanted else 0.0)
            cost[_CORNERS:] += little
            at = int(cost.argmin())
            clear = 1.0 if layout.text == wanted.text else _CLEARLY  # smaller only for something
            if cost[at] < clear * least:
                least, best = float(cost[at]), (layout, int(tops[at]), int(lefts[at]))
            if least <= little:  # the wanted one in a corner, or nothing would be gained
                return best
        text = min(text - 1, round(0.9 * text))
    return best


def _places(layout: _Layout, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return tops and lefts along the edges, int (n,) each: corners first, as that looks tidiest."""
    bottom, right = height - layout.margin - layout.height, width - layout.margin - layout.width
    down = np.linspace(layout.margin, bottom, _ALONG).astype(int)
    across = np.linspace(layout.margin, right, _ALONG).astype(int)
    corners = [
        (bottom, layout.margin),
        (bottom, right),
        (layout.margin, layout.margin),
        (layout.margin, right),
    ]
    sides = [(top, left) for top in down for left in (layout.margin, right)]
    ends = [(top, left) for left in across for top in (bottom, layout.margin)]
    tops, lefts = np.array([*corners, *sides, *ends]).T
    return tops, lefts


def _panel(under: np.ndarray, layout: _Layout, entries: Sequence[Entry]) -> np.ndarray:
    """Compose panel, swatches and names over a cut of the picture: uint8 (h, w, 3)."""
    size = (layout.width, layout.height)
    veil = _rounded(size, [(0, 0, *size)], radius=0.55 * layout.text)
    veil = veil.point(lambda value: round(value * _PANEL_OPACITY))
    image = Image.fromarray(np.ascontiguousarray(under))
    image.paste(_PANEL, (0, 0, *size), veil)
    pen = ImageDraw.Draw(image)
    letters = font(layout.text)
    middle = _middle(letters)
    left = layout.pad
    for column in range(layout.columns):
        for row, (name, color) in enumerate(entries[column * layout.rows : (column + 1) * layout.rows]):
            centre = layout.pad + row * layout.row_height + layout.text / 2
            top = round(centre - layout.swatch / 2)
            chip = _rounded(
                (layout.swatch, layout.swatch), [(0, 0, layout.swatch, layout.swatch)], 0.22 * layout.swatch
            )
            image.paste(color, (left, top), chip)
            pen.text(
                (left + round(1.4 * layout.text), round(centre - middle)), name, font=letters, fill=_TEXT
            )
        left += layout.column_widths[column] + layout.gap
    return np.asarray(image)


def _rounded(size: tuple[int, int], boxes: Sequence[tuple[int, int, int, int]], radius: float) -> Image.Image:
    """Draw smooth rounded boxes as a grey mask."""
    mask = Image.new("L", (size[0] * _SMOOTHING, size[1] * _SMOOTHING))
    pen = ImageDraw.Draw(mask)
    for x0, y0, x1, y1 in boxes:
        corners = (x0 * _SMOOTHING, y0 * _SMOOTHING, x1 * _SMOOTHING - 1, y1 * _SMOOTHING - 1)
        pen.rounded_rectangle(corners, radius * _SMOOTHING, fill=255)
    return mask.reduce(_SMOOTHING)


def _middle(letters: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> float:
    """Return how far below the pen lower-case letters have their middle, which the eye aligns to a swatch."""
    _, top, _, bottom = letters.getbbox("xn")
    return (top + bottom) / 2


def _text_width(name: str, text: int) -> int:
    return math.ceil(font(text).getlength(name))


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1].rstrip() + "…"

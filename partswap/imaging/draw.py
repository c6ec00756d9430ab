"""Pictures for people: colours, overlays with a legend, and contact sheets."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from partswap.imaging.legend import Color, Entry, draw_legend, font
from partswap.imaging.opencv import opencv

__all__ = ["Color", "colorize", "overlay", "palette", "sheet"]

_STRIP_PIXELS = 1_000_000
_LIGHTNESS = (0.5, 0.62, 0.74, 0.86)
_CHROMA = (0.06, 0.09, 0.12, 0.155, 0.19)
_FIRST = (232, 93, 74)  # coral: the first part of a sheet should look friendly
_VIVID = 0.11  # chroma of the colours that come first: paler ones drown in a photo
_MANY = 20
_GREYED = 0.6  # of the photo's colour goes from under a tint, or an orange coat would turn a blue part brown
_BORDER_STRENGTH = 0.9
_BORDER_WHITE = 0.35
_LUMA = np.array([[0.299] * 3, [0.587] * 3, [0.114] * 3], np.float32)
_PAPER = (255, 255, 255)
_INK = (52, 56, 64)
_EMPTY = (236, 238, 241)


@functools.cache
def _wheel(count: int) -> tuple[Color, ...]:
    """Choose colours one by one, each as far as can be (in Oklab, as the eye sees) from those before it."""
    lightness, chroma, hue = np.meshgrid(_LIGHTNESS, _CHROMA, np.arange(0, 360, 7.5))
    angle = np.radians(hue.ravel())
    lab = np.stack(
        [lightness.ravel(), chroma.ravel() * np.cos(angle), chroma.ravel() * np.sin(angle)], axis=1
    )
    rgb = _from_oklab(lab)
    pretty = ((rgb > 0) & (rgb < 1)).all(axis=1) & ((lab[:, 0] < 0.8) | (chroma.ravel() < 0.15))  # no neon
    # two levels of lightness look alike sooner than two hues in thin parts, so lightness counts less
    lab, rgb, chroma = lab[pretty] * (0.6, 1, 1), rgb[pretty], chroma.ravel()[pretty]
    chosen = [int(np.argmin(np.abs(rgb - np.array(_FIRST) / 255).sum(axis=1)))]
    distance = np.linalg.norm(lab - lab[chosen[0]], axis=1)
    while len(chosen) < count:
        vivid = chroma >= (_VIVID if len(chosen) < _MANY else 0)
        chosen.append(int(np.argmax(np.where(vivid, distance, -1))))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
    return tuple((int(r), int(g), int(b)) for r, g, b in np.rint(rgb[chosen] * 255))


def _from_oklab(lab: np.ndarray) -> np.ndarray:
    """Convert Oklab (N, 3) to sRGB (N, 3), 0..1 where the colour exists."""
    to_cone = np.array(
        [
            [1, 0.3963377774, 0.2158037573],
            [1, -0.1055613458, -0.0638541728],
            [1, -0.0894841775, -1.2914855480],
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = (lab @ to_cone.T) ** 3 @ to_linear.T
    bright = 1.055 * np.power(np.maximum(linear, 0.0031308), 1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, bright)


def palette(n: int) -> list[Color]:
    """Return ``n + 1`` colours ``(r, g, b)``, 0..255: black for the background, then ``n`` well separated
    ones.

    The colours never depend on ``n``: a shorter palette is the beginning of a longer one.

    Raises:
        ValueError: ``n`` is not within 0..255.
    """
    if not 0 <= n <= 255:
        raise ValueError(f"a palette holds 0..255 colours beside black, not {n}")
    return [(0, 0, 0), *_wheel(255)[:n]]


def colorize(labels: np.ndarray, palette: Sequence[Color]) -> np.ndarray:
    """Paint a label map.

    Args:
        labels: uint8 ``(H, W)``.
        palette: colours by label; labels beyond it become black.

    Returns:
        uint8 ``(H, W, 3)``.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8).reshape(-1, 3)[:256]
    return table[labels]


def overlay(
    rgb: np.ndarray,
    labels: np.ndarray,
    names: Mapping[int, str],
    colors: Mapping[int, Color],
    alpha: float = 0.55,
    *,
    still: bool = False,
) -> np.ndarray:
    """Lay part colours over a photo, with thin borders and a legend of the names that occur in it.

    Args:
        rgb: uint8 ``(H, W, 3)``, the photo.
        labels: uint8 ``(H, W)``, 0 background.
        names: name by id; ids may share one, and then share a row of the legend and have no border between
            them. An id without a name is called ``part ID``.
        colors: colour by id; a missing one comes from ``palette``. The legend shows the colour of a name's
            lowest id.
        alpha: strength of the tint, 0 (photo) .. 1 (flat colour).
        still: show a legend of all names, in a fixed corner: in a clip it would jump about otherwise.

    Returns:
        uint8 ``(H, W, 3)``, a new array. Background pixels keep the photo's values, but for the legend.

    Raises:
        ValueError: the shapes differ, or alpha is out of range.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.shape[:2] != labels.shape:
        raise ValueError(
            f"the photo is {rgb.shape}, the label map {labels.shape}: they must be (H, W, 3) and (H, W)"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be within 0..1, not {alpha}")
    table = np.array(palette(255), np.float32)
    for part, color in colors.items():
        table[part] = color
    groups, group_names = _grouped(names)
    out = _tinted(rgb, labels, table, groups, alpha)
    if still:
        shown = np.array(sorted(names), np.uint8)
        draw_legend(
            out, _entries(shown[:, None], groups, group_names, table), np.zeros_like(labels, np.bool_)
        )
    else:
        draw_legend(out, _entries(labels, groups, group_names, table), labels > 0)
    return out


def _grouped(names: Mapping[int, str]) -> tuple[np.ndarray, dict[int, str]]:
    """Return a table uint8 (256,) from id to the lowest id of the same name, and the names of the latter."""
    called = {part: names.get(part, f"part {part}") for part in range(1, 256)}
    lowest: dict[str, int] = {}
    for part, name in called.items():
        lowest.setdefault(name, part)
    table = np.array([0, *(lowest[name] for name in called.values())], np.uint8)
    return table, {part: name for name, part in lowest.items()}


def _entries(
    labels: np.ndarray, groups: np.ndarray, names: Mapping[int, str], table: np.ndarray
) -> list[Entry]:
    """List the names that occur, the one with most pixels first."""
    counts = np.bincount(groups, weights=_histogram(labels), minlength=256)
    counts[0] = 0
    order = [int(part) for part in np.argsort(-counts, kind="stable") if counts[part] > 0]
    return [(names[part], (int(table[part][0]), int(table[part][1]), int(table[part][2]))) for part in order]


def _histogram(labels: np.ndarray) -> np.ndarray:
    """Count each label, int64 (256,), in strips, since OpenCV counts in float32."""
    cv2 = opencv()
    counts = np.zeros(256, np.int64)
    rows = max(1, _STRIP_PIXELS // labels.shape[1])
    for top in range(0, len(labels), rows):
        strip = np.ascontiguousarray(labels[top : top + rows])
        counts += cv2.calcHist([strip], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    return counts


def _tinted(
    rgb: np.ndarray, labels: np.ndarray, table: np.ndarray, groups: np.ndarray, alpha: float
) -> np.ndarray:
    """Blend colours and borders into a copy of the photo, in strips to save memory."""
    height, width = labels.shape
    line = max(1, round(max(height, width) / 500))
    rims = (table + (255 - table) * _BORDER_WHITE) * _BORDER_STRENGTH if alpha > 0 else 0 * table
    # by 2 * part + whether it is its rim: what is added, and how much of the photo is kept
    added = np.stack([table * alpha, rims], axis=1).reshape(-1, 3)
    kept = np.array([1 - alpha, 1 - _BORDER_STRENGTH if alpha > 0 else 1] * 256, np.float32)
    grey = _GREYED * min(1.0, 2 * alpha)
    greyed = (1 - grey) * np.eye(3, dtype=np.float32) + grey * _LUMA.T
    cv2 = opencv()  # NumPy's product would wake the threads of its BLAS for every strip
    out = rgb.copy()
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        above, below = max(0, top - line), min(height, bottom + line)  # borders look over the edge of a strip
        border = _borders(groups[labels[above:below]], line)[top - above : bottom - above]
        inside = np.flatnonzero(labels[top:bottom])
        if inside.size == 0:
            continue
        which = labels[top:bottom].ravel()[inside].astype(np.intp) * 2 + border.ravel()[inside]
        flat = out[top:bottom].reshape(-1, 3)
        photo = cv2.transform(flat[inside].astype(np.float32)[:, None], greyed)[:, 0]
        photo *= kept[which, None]
        photo += added[which]
        flat[inside] = np.clip(np.rint(photo, out=photo), 0, 255)
    return out


def _borders(groups: np.ndarray, line: int) -> np.ndarray:
    """Mark pixels within ``line`` of a lower group, bool (H, W): one line a border, never background."""
    border = np.zeros(groups.shape, np.bool_)
    for step in range(1, line + 1):
        border[step:] |= groups[step:] > groups[:-step]
        border[:-step] |= groups[:-step] > groups[step:]
        border[:, step:] |= groups[:, step:] > groups[:, :-step]
        border[:, :-step] |= groups[:, :-step] > groups[:, step:]
    return border


def sheet(
    rows: Sequence[Sequence[np.ndarray]],
    captions: Sequence[Sequence[str]] | None = None,
    *,
    columns: Sequence[str] | None = None,
    cell_height: int = 240,
) -> np.ndarray:
    """Arrange pictures in a contact sheet on white.

    Args:
        rows: rows of pictures, uint8 ``(H, W)`` or ``(H, W, 3)``, or bool ``(H, W)`` masks; any sizes, each
            scaled to fit its cell with its aspect kept. Rows may differ in length.
        captions: a text under each picture, in the shape of ``rows``; an empty one leaves the place free.
        columns: a heading over each column.
        cell_height: height of a cell in pixels, at least 16; a cell is at most twice as wide.

    Returns:
        uint8 ``(H, W, 3)``.

    Raises:
        ValueError: there is no picture, one has another shape or dtype, or the captions do not match.
    """
    if not any(len(row) for row in rows):
        raise ValueError("a sheet needs at least one picture")
    if cell_height < 16:
        raise ValueError(f"cell_height must be at least 16, not {cell_height}")
    if captions is not None and [len(row) for row in captions] != [len(row) for row in rows]:
        raise ValueError("captions must come in the shape of the rows")
    cells = [[_cell(picture, cell_height) for picture in row] for row in rows]
    count = max(len(row) for row in cells)
    widths = [max(row[i].width for row in cells if i < len(row)) for i in range(count)]
    text = max(10, round(cell_height / 17))
    gap = max(4, round(cell_height / 30))
    line = round(1.6 * text) if captions is not None else 0
    head = round(1.9 * text) if columns else 0
    lefts = [gap + sum(widths[:i]) + gap * i for i in range(count)]
    page = Image.new(
        "RGB", (sum(widths) + gap * (count + 1), head + gap + len(cells) * (cell_height + line + gap)), _PAPER
    )
    for i, heading in enumerate((columns or ())[:count]):
        _centred(page, heading, lefts[i], gap + head // 2, widths[i], text)
    for r, row in enumerate(cells):
        top = head + gap + r * (cell_height + line + gap)
        for i, picture in enumerate(row):
            left = lefts[i] + (widths[i] - picture.width) // 2
            page.paste(picture, (left, top + (cell_height - picture.height) // 2))
            if captions is not None and captions[r][i]:
                _centred(page, captions[r][i], lefts[i], top + cell_height + line // 2, widths[i], text)
    return np.array(page)


def _cell(picture: np.ndarray, height: int) -> Image.Image:
    if picture.dtype == np.bool_:
        picture = picture.astype(np.uint8) * np.uint8(255)
    if picture.dtype != np.uint8 or picture.size == 0 or not (picture.ndim == 2 or picture.shape[2:] == (3,)):
        raise ValueError(f"a picture must be uint8 (H, W) or (H, W, 3), not {picture.dtype} {picture.shape}")
    image = Image.fromarray(np.ascontiguousarray(picture)).convert("RGB")
    scale = min(height / image.height, 2 * height / image.width)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # enlarged pixels should look like pixels; photos that shrink should not
    return image.resize(
        size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC, reducing_gap=3
    )


def _centred(page: Image.Image, words: str, left: int, middle: int, width: int, text: int) -> None:
    """Write one line in the middle of a span, cut with an ellipsis where it is too long."""
    letters = font(text)
    while words and letters.getlength(words) > width:
        words = words.rstrip("…")[:-1].rstrip() + "…" if len(words) > 2 else ""
    _, top, _, bottom = letters.getbbox("xn")
    at = (left + (width - letters.getlength(words)) / 2, middle - (top + bottom) / 2)
    ImageDraw.Draw(page).text(at, words, font=letters, fill=_INK)

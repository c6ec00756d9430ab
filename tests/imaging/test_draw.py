import itertools

import numpy as np
import pytest

from partswap.imaging import colorize, overlay, palette, sheet
from partswap.imaging import legend as legend_module  # the module, for its constants

NAMES = {1: "chest", 2: "arm", 3: "head", 4: "arm"}
COLORS = {1: (220, 60, 60), 2: (40, 120, 240), 3: (60, 200, 90), 4: (70, 150, 250)}


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A grey photo with four parts in its middle third."""
    labels = np.zeros((height, width), np.uint8)
    third, middle = height // 3, width // 2
    labels[third : 2 * third, width // 3 : middle] = 1
    labels[third : 2 * third, middle : 2 * width // 3] = 2
    labels[2 * third : 2 * third + third // 2, width // 3 : middle] = 3
    labels[2 * third : 2 * third + third // 2, middle : 2 * width // 3] = 4
    return np.full((height, width, 3), 150, np.uint8), labels


def changed(out: np.ndarray, rgb: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return (out != rgb).any(axis=2) & (labels == 0)


# ---------------------------------------------------------------- palette and colorize


def test_palettes_start_black_are_distinct_and_only_grow() -> None:
    longest = palette(255)
    assert longest[0] == (0, 0, 0)
    assert len(longest) == len(set(longest)) == 256
    assert all(len(color) == 3 and all(0 <= value <= 255 for value in color) for color in longest)
    for n in (0, 1, 16, 40):
        assert palette(n) == longest[: n + 1]


def test_the_first_colours_are_well_separated() -> None:
    for one, other in itertools.combinations(palette(16), 2):
        assert np.linalg.norm(np.subtract(one, other)) > 45


@pytest.mark.parametrize("n", [-1, 256])
def test_palette_sizes_that_do_not_fit_a_byte(n: int) -> None:
    with pytest.raises(ValueError, match=r"0\.\.255"):
        palette(n)


def test_colorize() -> None:
    out = colorize(np.array([[0, 1], [2, 9]], np.uint8), [(0, 0, 0), (1, 2, 3), (4, 5, 6)])
    assert out.dtype == np.uint8
    assert out.tolist() == [[[0, 0, 0], [1, 2, 3]], [[4, 5, 6], [0, 0, 0]]]


# ---------------------------------------------------------------- overlay


def test_parts_are_tinted_and_the_rest_is_the_photo() -> None:
    rgb, labels = scene(300, 400)
    before = rgb.copy()
    out = overlay(rgb, labels, NAMES, COLORS)
    assert np.array_equal(rgb, before)
    assert out.shape == rgb.shape
    assert out.dtype == np.uint8
    inner = out[150, 160]  # the middle of the chest
    assert np.abs(inner - (150 * 0.45 + np.array(COLORS[1]) * 0.55)).max() <= 1
    touched = changed(out, rgb, labels)
    assert 0 < touched.mean() < legend_module._LARGEST_SHARE + 0.01  # the legend, and nothing else
    ys, xs = np.nonzero(touched)
    assert touched[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].mean() > 0.9


def test_borders_divide_names_not_ids() -> None:
    rgb, labels = scene(300, 400)
    out = overlay(rgb, labels, NAMES, dict.fromkeys(NAMES, (200, 50, 50)))
    plain = out[150, 160]
    assert (out[140:180, 196:204] != plain).any()  # chest | arm
    assert (out[196:204, 225] == plain).all()  # arm 2 | arm 4


def test_an_empty_label_map_returns_the_photo() -> None:
    rgb, labels = scene(120, 90)
    out = overlay(rgb, labels * 0, NAMES, COLORS)
    assert np.array_equal(out, rgb)
    assert out is not rgb


def test_alpha_runs_from_photo_to_flat_colour() -> None:
    rgb, labels = scene(300, 400)
    assert np.array_equal(overlay(rgb, labels, NAMES, COLORS, alpha=0)[labels > 0], rgb[labels > 0])
    assert tuple(overlay(rgb, labels, NAMES, COLORS, alpha=1)[150, 160]) == COLORS[1]
    for alpha in (-0.1, 1.1):
        with pytest.raises(ValueError, match="alpha"):
            overlay(rgb, labels, NAMES, COLORS, alpha=alpha)


def test_shapes_that_differ_are_refused() -> None:
    rgb, labels = scene(30, 40)
    with pytest.raises(ValueError, match=r"\(30, 40, 3\)"):
        overlay(rgb, labels[:-1], NAMES, COLORS)


def test_ids_without_name_or_colour_get_one() -> None:
    rgb, labels = scene(300, 400)
    out = overlay(rgb, labels, {}, {})
    expected = 150 * 0.45 + np.array(palette(255)[1]) * 0.55
    assert np.abs(out[150, 160] - expected).max() <= 1


def test_strips_do_not_change_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, labels = scene(300, 400)
    expected = overlay(rgb, labels, NAMES, COLORS)
    monkeypatch.setattr("partswap.imaging.draw._STRIP_PIXELS", 400 * 7)
    assert np.array_equal(overlay(rgb, labels, NAMES, COLORS), expected)


# ---------------------------------------------------------------- legend


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 300), (300, 1), (9, 9), (30, 30), (64, 48), (100, 3000), (3000, 100)]
)
def test_overlays_of_any_size_work(size: tuple[int, int]) -> None:
    rgb = np.full((*size, 3), 99, np.uint8)
    labels = (np.arange(rgb[:, :, 0].size) % 5).astype(np.uint8).reshape(size)
    assert overlay(rgb, labels, NAMES, COLORS).shape == rgb.shape


def test_a_picture_too_small_for_words_has_none() -> None:
    rgb, labels = scene(24, 24)
    assert not changed(overlay(rgb, labels, NAMES, COLORS), rgb, labels).any()


@pytest.mark.parametrize("size", [(100, 3000), (3000, 100), (480, 640), (2000, 1500), (6000, 4000)])
def test_every_name_is_shown_and_text_grows_with_the_picture(size: tuple[int, int]) -> None:
    entries = [(f"name {i}", (i, i, i)) for i in range(5)]
    layout, shown = legend_module._choose(entries, *size)
    assert layout is not None
    assert len(shown) == 5
    assert layout.text >= 9
    assert layout.text <= 0.2 * min(size)
    assert layout.width + 2 * layout.margin <= size[1]
    assert layout.height + 2 * layout.margin <= size[0]
    assert min(size) < 1000 or layout.text > 0.015 * max(size)


@pytest.mark.parametrize("size", [(60, 60), (90, 120), (120, 90), (200, 150)])
def test_small_pictures_show_as_many_names_as_stay_readable(size: tuple[int, int]) -> None:
    entries = [(f"part{i}", (i, i, i)) for i in range(16)]
    layout, shown = legend_module._choose(entries, *size)
    assert shown == entries[: len(shown)]
    assert (layout is None) == (not shown)
    if layout is not None:
        assert layout.text >= 9
        assert layout.width * layout.height <= legend_module._LARGEST_SHARE * size[0] * size[1]


def test_the_legend_keeps_away_from_the_parts() -> None:
    rgb, labels = scene(300, 400)
    for corner in itertools.product((slice(0, 150), slice(150, 300)), (slice(0, 200), slice(200, 400))):
        busy = np.ones_like(labels)
        busy[corner] = 0
        out = overlay(rgb, busy, {1: "all"}, COLORS)
        ys, xs = np.nonzero((out != rgb).any(axis=2) & (busy == 0))
        assert len(ys) > 100
        assert (xs.max() - xs.min()) < 200


def test_the_legend_goes_between_the_parts_where_every_corner_is_taken() -> None:
    rgb = np.full((300, 400, 3), 99, np.uint8)
    labels = np.ones((300, 400), np.uint8)
    labels[180:, 150:290] = 0
    out = overlay(rgb, labels, NAMES, COLORS)
    rows, columns = np.nonzero((out != rgb).any(axis=2) & (labels == 0))
    assert len(rows) > 500
    assert rows.max() > 280, "along the edge"
    assert 150 <= columns.min() < columns.max() < 290


def test_the_legend_is_set_smaller_where_it_would_hide_parts() -> None:
    entries = [(f"name {i}", (i, i, i)) for i in range(6)]
    height, width = 900, 600
    wanted, _ = legend_module._choose(entries, height, width)
    assert wanted is not None
    free = np.zeros((height, width), bool)
    layout, top, left = legend_module._quietest(wanted, entries, free)
    assert (layout, left) == (wanted, wanted.margin), "in a corner, as large as wanted"
    assert top == height - wanted.margin - wanted.height
    room = np.ones((height, width), bool)
    room[: round(0.8 * wanted.height), : round(0.8 * wanted.width)] = False
    layout, top, left = legend_module._quietest(wanted, entries, room)
    assert 0.6 * wanted.text <= layout.text < wanted.text
    assert (top, left) == (layout.margin, layout.margin)
    layout, _, _ = legend_module._quietest(wanted, entries, np.ones((height, width), bool))
    assert layout.text >= max(9, 0.6 * wanted.text), "still to be read where nothing is free"


def test_hiding_a_rim_moves_no_legend() -> None:
    entries = [(f"name {i}", (i, i, i)) for i in range(6)]
    wanted, _ = legend_module._choose(entries, 900, 600)
    assert wanted is not None
    busy = np.zeros((900, 600), bool)
    busy[[wanted.margin, 899 - wanted.margin]] = True  # a line that the legend would cross in every corner
    corner = (wanted, 900 - wanted.margin - wanted.height, wanted.margin)
    assert legend_module._quietest(wanted, entries, busy) == corner
    busy[450:, 300:] = True
    busy[850:, :100] = True
    assert legend_module._quietest(wanted, entries, busy)[1:] == (wanted.margin, wanted.margin), "the least"


def test_swatches_have_the_colour_of_the_names_lowest_id() -> None:
    rgb, labels = scene(600, 800)
    labels[labels == 2] = 0  # id 4 alone is called arm in this photo
    out = overlay(rgb, labels, NAMES, COLORS)
    legend = out[changed(out, rgb, labels)]
    shown = {tuple(int(v) for v in pixel) for pixel in np.unique(legend, axis=0)}
    assert {COLORS[1], COLORS[2], COLORS[3]} <= shown
    assert COLORS[4] not in shown


@pytest.mark.parametrize("name", ["", "x" * 200, "Brust Ärmel", "胸", "two words", "a\tb"])
def test_any_name_can_be_drawn(name: str) -> None:
    rgb, labels = scene(300, 400)
    assert overlay(rgb, labels, {1: name}, COLORS).shape == rgb.shape


# ---------------------------------------------------------------- sheets


def test_sheets_hold_every_picture_whole() -> None:
    red = np.full((50, 100, 3), (255, 0, 0), np.uint8)
    tall = np.full((400, 100, 3), (0, 0, 255), np.uint8)
    grey = np.full((64, 64), 128, np.uint8)
    mask = np.ones((5, 5), np.bool_)
    out = sheet([[red, tall], [grey, mask], [red]], cell_height=100)
    assert out.dtype == np.uint8
    assert out.shape[2] == 3
    assert (out == (255, 0, 0)).all(axis=2).sum() == 2 * 100 * 200
    assert (out == (0, 0, 255)).all(axis=2).sum() == 100 * 25
    assert (out == 128).all(axis=2).sum() == 100 * 100


def test_captions_and_headings_add_room_and_ink() -> None:
    white = np.full((50, 50, 3), 255, np.uint8)
    plain = sheet([[white, white]], cell_height=60)
    captions = sheet([[white, white]], [["a", ""]], cell_height=60)
    both = sheet([[white, white]], [["a", "b"]], columns=["photo", "parts"], cell_height=60)
    assert plain.min() == 255
    assert plain.shape[0] < captions.shape[0] < both.shape[0]
    half = captions.shape[1] // 2
    assert captions[:, :half].min() < 128
    assert captions[:, half:].min() == 255
    assert both[:20].min() < 128


def test_a_caption_longer_than_its_picture_is_cut() -> None:
    white = np.full((60, 60, 3), 255, np.uint8)
    out = sheet([[white, white]], [["a very long caption indeed " * 9, ""]], cell_height=60)
    assert out[:, out.shape[1] // 2 + 2 :].min() == 255
    assert sheet([[white]], [["x" * 500]], cell_height=16).shape[2] == 3


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (3000, 100)])
def test_sheets_of_extreme_pictures(size: tuple[int, int]) -> None:
    out = sheet([[np.zeros((*size, 3), np.uint8)]], cell_height=48)
    assert max(out.shape) < 200
    assert out.min() == 0


def test_sheets_that_cannot_be_made() -> None:
    picture = np.zeros((5, 5, 3), np.uint8)
    for rows in ([], [[]]):
        with pytest.raises(ValueError, match="at least one picture"):
            sheet(rows)
    with pytest.raises(ValueError, match="captions"):
        sheet([[picture]], [["a", "b"]])
    with pytest.raises(ValueError, match="uint8"):
        sheet([[picture.astype(float)]])
    with pytest.raises(ValueError, match="cell_height"):
        sheet([[picture]], cell_height=2)


def test_a_still_legend_is_the_same_in_every_frame_of_a_clip() -> None:
    rgb, labels = scene(300, 400)
    frames = [overlay(rgb, some, NAMES, COLORS, still=True) for some in (labels, np.where(labels == 1, 1, 0))]
    frames.append(overlay(rgb, np.full_like(labels, 2), NAMES, COLORS, still=True))
    empty = overlay(rgb, np.zeros_like(labels), NAMES, COLORS, still=True)
    legend = (empty != rgb).any(axis=2)
    assert legend.any()
    rows, columns = np.flatnonzero(legend.any(axis=1)), np.flatnonzero(legend.any(axis=0))
    window = np.s_[rows[0] + 6 : rows[-1] - 6, columns[0] + 6 : columns[-1] - 6]  # inside its round corners
    for frame in frames[:2]:
        assert (frame[window] == empty[window]).all()
    assert (frames[2][window] != empty[window]).mean() < 0.9  # the photo shines through a little

"""The whole report, with predictors that are right, swapped, or useless."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from partswap.benchmark.evaluate import Photo, evaluate
from partswap.benchmark.table import render


def photos(drawn, count=6, mask=False):
    for i in range(count):
        label = drawn.figure(i)
        truth = (label > 0) & (label < 255)
        yield Photo(f"{i}", drawn.paint(label), label, truth if mask else None)


def test_a_right_predictor(drawn) -> None:
    report = evaluate(drawn.nearest_colour, photos(drawn), drawn.NAMES, 3, framing=True, leak=True)
    assert report["model"]["strict"]["overall"] == 1
    assert report["framing"]["drop"] == pytest.approx(0, abs=0.02)
    assert 0 < report["leak"]["warp"] < 0.1
    assert 0 <= report["leak"]["colour"] <= 1
    assert (report["images"], report["parts"], report["named"]) == (6, 3, None)
    assert list(report["trivial"]) == [
        f"{shape} of the {what}"
        for what in ("true foreground", "model's foreground")
        for shape in ("8 bands", "8x4 grid")
    ]
    json.dumps(report, allow_nan=False)


def test_colour_leak_is_seen(drawn) -> None:
    by_red = evaluate(
        lambda rgb: (rgb[..., 0] > 50).astype(np.uint8), photos(drawn), drawn.NAMES, 1, leak=True
    )
    constant = evaluate(
        lambda rgb: np.ones(rgb.shape[:2], np.uint8), photos(drawn), drawn.NAMES, 1, leak=True
    )
    assert by_red["leak"]["colour"] > 0.1
    assert constant["leak"] == {"colour": 0, "warp": 0}


def test_parts_that_depend_on_the_frame_drop(drawn) -> None:
    def thirds(rgb):
        ids = 1 + np.arange(rgb.shape[0]) * 3 // rgb.shape[0]
        return np.where(rgb.max(2) > 50, ids[:, None], 0).astype(np.uint8)

    report = evaluate(thirds, photos(drawn, 12), drawn.NAMES, 3, framing=True)
    assert report["framing"]["drop"] > 0.05
    assert report["framing"]["whole"]["overall"] == pytest.approx(report["model"]["strict"]["overall"])


def test_named_groups_join_ids(drawn) -> None:
    def halves(rgb):
        ids = drawn.nearest_colour(rgb)
        ids[:, 16:][ids[:, 16:] == 3] = 4  # left and right leg
        return ids

    names = ["head", "torso", "leg", "leg"]
    report = evaluate(halves, photos(drawn), drawn.NAMES, 4, part_names=names)
    assert report["named"]["names"] == ["head", "torso", "leg"]
    assert report["named"]["parts"] == 3
    assert report["named"]["fg_ari"] == pytest.approx(1)
    assert report["model"]["fg_ari"] < 0.95
    assert report["model"]["paper"]["mapping"][4] == "legs"


def test_small_predictions_are_scored_at_the_labels_size(drawn) -> None:
    report = evaluate(
        lambda rgb: drawn.nearest_colour(rgb)[::2, ::2], photos(drawn), drawn.NAMES, 3, framing=True
    )
    assert 0.6 < report["model"]["overall"] < 1


def test_windows_do_not_depend_on_the_other_photos(drawn) -> None:
    seen = []

    def remember(rgb):
        seen.append(rgb.shape)
        return drawn.nearest_colour(rgb)

    evaluate(remember, photos(drawn, 3), drawn.NAMES, 3, framing=True)
    alone = list(seen)
    seen.clear()
    evaluate(remember, list(photos(drawn, 3))[::-1], drawn.NAMES, 3, framing=True)
    assert sorted(seen) == sorted(alone)


def test_masks_add_rows(drawn) -> None:
    report = evaluate(drawn.nearest_colour, photos(drawn, mask=True), drawn.NAMES, 3)
    trivial = report["trivial"]
    assert trivial["8 bands of the given mask"] == trivial["8 bands of the true foreground"]


def test_one_photo_has_no_strict_row(drawn) -> None:
    report = evaluate(drawn.nearest_colour, photos(drawn, 1), drawn.NAMES, 3, framing=True)
    assert report["model"]["strict"] is None
    assert report["framing"]["drop"] is not None


def test_nothing_to_score(drawn) -> None:
    with pytest.raises(ValueError, match="no labelled images"):
        evaluate(drawn.nearest_colour, [], drawn.NAMES, 3)


def test_the_table_names_everything(drawn) -> None:
    report = evaluate(
        drawn.nearest_colour,
        photos(drawn),
        drawn.NAMES,
        3,
        seed=4,
        framing=True,
        leak=True,
        part_names=list("abc"),
    )
    out = io.StringIO()
    Console(file=out, width=160).print(render({"data": "drawn", **report}))
    text = out.getvalue()
    words = [
        "drawn",
        "6 images",
        "K = 3",
        "seed 4",
        "head",
        "overall",
        "strict",
        "one-to-one",
        "Mapping:",
        "Leak:",
    ]
    for word in [*words, "8 bands of the true", "8x4 grid of the true", "named parts", "Framing:"]:
        assert word in text, word

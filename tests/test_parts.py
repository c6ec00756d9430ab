"""Names, ids and colours."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partswap.errors import ModelError, UsageError
from partswap.parts import MAX_PARTS, Part, Parts

NAMED = Parts.default(8).renamed({3: "chest", 4: "chest", 7: "left arm"})


def test_default_parts_are_numbered_and_not_named():
    parts = Parts.default(16)
    assert [part.id for part in parts] == list(range(1, 17))
    assert parts[0].name == "part1"
    assert not parts.named
    assert NAMED.named


def test_palette_starts_black_and_has_no_two_equal_colours():
    palette = Parts.default(40).palette()
    assert palette[0] == (0, 0, 0)
    assert len(set(palette)) == 41


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("chest", (3, 4)),
        ("CHEST", (3, 4)),
        (" chest , left  arm ", (3, 4, 7)),
        ("3,7", (3, 7)),
        ("7,chest,3,", (3, 4, 7)),
        ("all", (1, 2, 3, 4, 5, 6, 7, 8)),
        (["chest", 8], (3, 4, 8)),
    ],
)
def test_parse(text, ids):
    assert NAMED.parse(text) == ids


@pytest.mark.parametrize(
    "text", ["", " , ", "0", "9", "99999999999999999999", "chst", "-1", "3.5", "all parts"]
)
def test_parse_refuses(text):
    with pytest.raises(UsageError):
        NAMED.parse(text)


def test_unknown_name_lists_what_exists_and_the_closest():
    with pytest.raises(UsageError, match=r"'chset'; did you mean 'chest'\? .*left arm"):
        NAMED.parse("chset")


def test_ids_of_one_name_share_a_hue_but_not_a_colour():
    assert NAMED.names == ["part1", "part2", "chest", "part5", "part6", "left arm", "part8"]
    assert NAMED.color("chest") == NAMED[2].color
    assert NAMED[2].color != NAMED[3].color


def test_renaming_keeps_other_colours_and_knows_a_name_in_any_case():
    again = NAMED.renamed({5: "CHEST"})
    assert again.ids("chest") == (3, 4, 5)
    assert again.names.count("chest") == 1
    assert again[6] == NAMED[6]
    assert again[2].color == NAMED[2].color


BAD_NAMES = [
    "", " ", "x" * 41, "a/b", "a\\b", "..", ".hidden", "a.b", "a:b", "a,b", "a=b", "-x",
    "tab\there ".strip() + "\x00", "all", "Background", "parts", "overlay", "12",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_unusable_names_are_refused(name):
    with pytest.raises(UsageError):
        NAMED.renamed({1: name})
    data = NAMED.to_json()
    data["parts"][0]["name"] = name
    with pytest.raises(ModelError):
        Parts.from_json(data)


def test_renaming_an_id_that_is_not_there():
    with pytest.raises(UsageError, match="no part 9"):
        NAMED.renamed({9: "hip"})


@given(st.dictionaries(st.integers(1, 8), st.sampled_from(["chest", "arm", "left arm", "Knie", "頭", "hip"])))
def test_json_round_trip(names):
    parts = NAMED.renamed(names)
    assert Parts.from_json(json.loads(json.dumps(parts.to_json()))) == parts


def _with(**changes):
    return {"format": 1, "parts": [{"id": 1, "name": "chest", "color": [1, 2, 3], **changes}]}


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"format": 1},
        {"format": 2, "parts": []},
        {"format": 1, "parts": []},
        {"format": 1, "parts": {}},
        {"format": 1, "parts": ["chest"]},
        _with(id=2),
        _with(id=True),
        _with(id="1"),
        _with(name=5),
        _with(color=[1, 2]),
        _with(color=[1, 2, 256]),
        _with(color=[1, 2, -1]),
        _with(color=[1, 2, 3.0]),
        _with(color="#ffffff"),
        {"format": 1, "parts": [{"id": 1, "name": "a", "color": [0, 0, 0]}] * (MAX_PARTS + 1)},
    ],
)
def test_damaged_parts_json_is_refused(data):
    with pytest.raises(ModelError):
        Parts.from_json(data)


def test_names_that_differ_only_in_case_are_refused():
    with pytest.raises(ModelError, match="case"):
        Parts([Part(1, "chest", (0, 0, 0)), Part(2, "Chest", (0, 0, 0))])

"""Whatever bytes come in, only our own errors come out."""

from __future__ import annotations

import contextlib
import json
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_images import FORMATS, encoded, picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from partswap.checkpoint import Config
from partswap.checkpoint.files import check_weights, read_json
from partswap.errors import ImageError, ModelError, PartswapError, UsageError
from partswap.imaging import load_image
from partswap.parts import Parts

QUICK = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,  # the same examples every time
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
STUDENT = {"backbone": "resnet18", "parts": 3, "width": 16}
CONFIG = Config("things", 3, STUDENT).to_json()
PARTS = Parts.default(3).to_json()
NUMBERS = st.integers() | st.floats(allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def _paths(data: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from _paths(value, (*path, key))


def _replaced(data: Any, path: tuple[Any, ...], value: object) -> Any:
    if not path:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = _replaced(data[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize(("read", "good"), [(Config.from_json, CONFIG), (Parts.from_json, PARTS)])
@QUICK
@given(draw=st.data())
def test_one_value_of_a_json_file_is_anything(read: Any, good: Any, draw: st.DataObject) -> None:
    path = draw.draw(st.sampled_from(sorted(_paths(good), key=str)))
    data = json.loads(json.dumps(_replaced(good, path, draw.draw(JSON))))
    with contextlib.suppress(ModelError):
        made = read(data)
        assert read(made.to_json()) == made  # what was accepted can be written, and read again


@QUICK
@given(raw=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_json_file_is_any_bytes(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_bytes(raw)
        with contextlib.suppress(ModelError):
            read_json(path)


@QUICK
@given(header=JSON | st.dictionaries(st.text(max_size=3), JSON, max_size=3), data=st.binary(max_size=64))
def test_a_header_of_tensors_is_anything(header: object, data: bytes) -> None:
    text = json.dumps(header).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)
        with contextlib.suppress(ModelError):
            check_weights(path)


@QUICK
@given(
    name=st.text(max_size=3),
    dtype=st.sampled_from(["F16", "F32", "I64", "BOOL", "F8_E5M2", "C64", "X"]),
    shape=st.lists(st.integers(-2, 1 << 63), max_size=10),
    offsets=st.lists(st.integers(-9, 1 << 63), max_size=3),
    data=st.binary(max_size=64),
)
def test_an_entry_of_the_header_is_anything(
    name: str, dtype: str, shape: list[int], offsets: list[int], data: bytes
) -> None:
    test_a_header_of_tensors_is_anything.hypothesis.inner_test(  # type: ignore[attr-defined]
        {name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}}, data
    )


@pytest.mark.parametrize("form", FORMATS.values())
@settings(QUICK, max_examples=60)
@given(
    seed=st.integers(0, 3),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    cut=st.floats(0, 1),
)
def test_a_picture_with_any_bytes_changed(
    form: str, seed: int, changes: list[tuple[float, int]], cut: float
) -> None:
    data = bytearray(encoded(picture(seed, (32, 24)), form))
    for at, value in changes:
        data[int(at**3 * len(data))] = value  # mostly near the start, where headers are
    if cut < 0.3:
        del data[int(len(data) * cut) :]
    with contextlib.suppress(ImageError):
        assert load_image(bytes(data), max_pixels=1_000_000).rgb.dtype == np.uint8


@QUICK
@given(words=st.text(max_size=30))
def test_words_for_parts_are_anything(words: str) -> None:
    with contextlib.suppress(UsageError):
        assert all(1 <= part_id <= 3 for part_id in Parts.default(3).parse(words))


@QUICK
@given(names=st.dictionaries(st.integers(-1, 5), st.text(max_size=45), max_size=4))
def test_names_of_parts_are_anything(names: dict[int, str]) -> None:
    try:
        renamed = Parts.default(3).renamed(names)
    except PartswapError:
        return
    assert Parts.from_json(json.loads(json.dumps(renamed.to_json()))) == renamed
    assert not any(set(part.name) & set("/\\.:\0\n") for part in renamed)

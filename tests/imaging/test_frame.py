import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partswap.imaging import Frame, fit
from partswap.imaging import frame as frame_module  # the module, for its constants

SIZES = [(800, 550), (550, 800), (321, 123), (100, 100), (1920, 1080), (333, 1000), (90, 60), (97, 1013)]


def spots(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Paint four soft spots at net resolution; return the map and the centres (y, x) at photo size."""
    h, w = frame.content
    centres = np.array([(0.25, 0.3), (0.3, 0.75), (0.7, 0.2), (0.8, 0.7)])
    y, x = np.mgrid[0 : frame.net[0], 0 : frame.net[1]] + 0.5
    radius = 0.05 * min(h, w)
    maps = [np.exp(-((y - cy * h) ** 2 + (x - cx * w) ** 2) / (2 * radius**2)) for cy, cx in centres]
    return np.stack([np.full(frame.net, 0.5), *maps]).astype(np.float32), centres * frame.photo


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("long_side", "multiple"), [(320, 32), (256, 16), (300, 64)])
def test_a_painted_map_comes_back_at_its_place(size: tuple[int, int], long_side: int, multiple: int) -> None:
    _, frame = fit(np.zeros((*size, 3), np.uint8), long_side, multiple)
    part_map, centres = spots(frame)
    labels = frame.labels(part_map)
    assert labels.shape == size
    assert labels.dtype == np.uint8
    for part, (cy, cx) in enumerate(centres, 1):
        weight = frame.channel(part_map, [part])
        y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
        assert abs((weight * y).sum() / weight.sum() - cy) < 1
        assert abs((weight * x).sum() / weight.sum() - cx) < 1
        assert labels[int(cy), int(cx)] == part
        ys, xs = np.nonzero(labels == part)
        assert abs(ys.mean() + 0.5 - cy) < 1
        assert abs(xs.mean() + 0.5 - cx) < 1


@pytest.mark.parametrize("size", [*SIZES, (3000, 100), (100, 3000)])
def test_the_photo_itself_goes_there_and_back(size: tuple[int, int]) -> None:
    """An edge, scaled with the photo and brought back as a map, lies where it was, to a net pixel."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    mask = (y > 0.4 * size[0]) & (x > 0.3 * size[1])
    rgb = np.repeat((mask * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    net_input, frame = fit(rgb, 320, 32)
    part = net_input[:, :, 0].astype(np.float32) / 255
    back = frame.labels(np.stack([1 - part, part])) == 1
    step = max(1, max(size) / 320)
    off = mask != back
    near = (np.abs(y - 0.4 * size[0]) <= step + 1) | (np.abs(x - 0.3 * size[1]) <= step + 1)
    assert not (off & ~near).any()


@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    long_side=st.integers(1, 200),
    multiple=st.sampled_from([1, 2, 14, 32]),
)
@settings(max_examples=150, deadline=None)
def test_fit_keeps_its_promises_at_any_size(height: int, width: int, long_side: int, multiple: int) -> None:
    rgb = np.random.default_rng(height * 401 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    net_input, frame = fit(rgb, long_side, multiple)
    assert net_input.dtype == np.uint8
    assert net_input.flags.c_contiguous
    assert net_input.shape == (*frame.net, 3)
    assert frame.photo == (height, width)
    assert max(frame.content) == long_side
    assert all(side % multiple == 0 and side >= multiple for side in frame.net)
    assert all(0 <= net - content < multiple for net, content in zip(frame.net, frame.content, strict=True))
    scale = long_side / max(height, width)
    assert abs(frame.content[0] - max(1, height * scale)) <= 0.5
    assert abs(frame.content[1] - max(1, width * scale)) <= 0.5
    h, w = frame.content
    assert (net_input[h:, :w] == net_input[h - 1, :w]).all()
    assert (net_input[:, w:] == net_input[:, w - 1 : w]).all()
    part_map = np.random.default_rng(0).random((3, *frame.net), dtype=np.float32)
    probabilities = frame.probabilities(part_map)
    assert probabilities.shape == (3, height, width)
    assert probabilities.min() >= part_map.min() - 1e-6
    assert probabilities.max() <= part_map.max() + 1e-6
    assert np.array_equal(frame.labels(part_map), probabilities.argmax(axis=0))


def test_a_constant_photo_and_map_stay_constant() -> None:
    for size in ((1, 1), (3000, 100), (7, 500), (640, 640)):
        net_input, frame = fit(np.full((*size, 3), 77, np.uint8), 320, 32)
        assert (net_input == 77).all()
        part_map = np.broadcast_to(np.float32([0.2, 0.5, 0.3])[:, None, None], (3, *frame.net))
        assert (frame.labels(part_map) == 1).all()
        assert np.allclose(frame.probabilities(part_map), part_map[:, :1, :1], atol=5e-4)


def test_reducing_averages_areas() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200  # nearest or plain bilinear sampling would return 0 or 200
    assert (fit(stripes, 16, 16)[0] == 100).all()


def test_padding_never_leaks_into_the_photo() -> None:
    _, frame = fit(np.zeros((100, 75, 3), np.uint8), 320, 64)
    part_map = np.zeros((2, *frame.net), np.float32)
    part_map[0, : frame.content[0], : frame.content[1]] = 1
    part_map[1] = 1 - part_map[0]
    assert (frame.labels(part_map) == 0).all()
    assert (frame.channel(part_map, [1]) == 0).all()


def test_it_is_what_opencv_makes_of_the_whole() -> None:
    cv2 = pytest.importorskip("cv2")
    _, frame = fit(np.zeros((431, 307, 3), np.uint8), 128, 32)
    part_map = np.random.default_rng(1).random((5, *frame.net), dtype=np.float32)
    h, w = frame.content
    whole = np.stack(
        [cv2.resize(one[:h, :w].copy(), (307, 431), interpolation=cv2.INTER_LINEAR) for one in part_map]
    )
    assert np.abs(frame.probabilities(part_map) - whole).max() < 1e-5


@pytest.mark.parametrize("strip_bytes", [1, 5_000, 1 << 30])
def test_strips_do_not_change_the_result(strip_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _, frame = fit(np.zeros((231, 107, 3), np.uint8), 96, 32)
    part_map = np.random.default_rng(2).random((6, *frame.net), dtype=np.float32)
    expected = frame.probabilities(part_map)
    monkeypatch.setattr(frame_module, "_STRIP_BYTES", strip_bytes)
    assert np.array_equal(frame.probabilities(part_map), expected)
    tops = [top for top, _ in frame.undo(part_map)]
    assert tops[0] == 0
    assert tops == sorted(tops)
    assert sum(strip.shape[1] for _, strip in frame.undo(part_map)) == 231


def test_channels_add_up() -> None:
    _, frame = fit(np.zeros((60, 90, 3), np.uint8), 96, 32)
    part_map = np.random.default_rng(3).random((5, *frame.net)).astype(np.float32)
    part_map /= part_map.sum(axis=0)
    assert np.allclose(frame.channel(part_map, range(5)), 1, atol=1e-5)
    two = frame.channel(part_map, (3, 1, 3))
    assert two.dtype == np.float32
    assert np.allclose(two, frame.probabilities(part_map)[[1, 3]].sum(axis=0), atol=1e-6)
    assert not frame.channel(part_map, []).any()
    with pytest.raises(ValueError, match=r"0\.\.4"):
        frame.channel(part_map, [5])
    with pytest.raises(ValueError, match=r"0\.\.4"):
        frame.channel(part_map, [-1])


def test_ties_go_to_the_lower_channel_and_half_precision_is_taken() -> None:
    frame = Frame((50, 40), (32, 26), (32, 32))
    assert (frame.labels(np.full((4, 32, 32), 0.25, np.float16)) == 0).all()


def test_wrong_shapes_are_refused() -> None:
    _, frame = fit(np.zeros((50, 40, 3), np.uint8), 32, 32)
    for shape in ((3, 32, 31), (32, 32), (1, 3, 32, 32)):
        with pytest.raises(ValueError, match="part map must be"):
            frame.labels(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="channels"):
        frame.labels(np.zeros((257, 32, 32), np.float32))
    for photo in (np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="photo must be"):
            fit(photo, 32, 32)
    with pytest.raises(ValueError, match="at least 1"):
        fit(np.zeros((4, 4, 3), np.uint8), 0, 32)


def test_memory_does_not_grow_with_photo_times_channels() -> None:
    frame = Frame((6000, 5000), (320, 267), (320, 288))  # 30 Mpx: all channels at once would be 2 GB
    part_map = np.zeros((17, *frame.net), np.float32)
    tracemalloc.start()
    labels = frame.labels(part_map)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - labels.nbytes < 64 << 20


@pytest.mark.parametrize("size", [(231, 107), (40, 300), (900, 640), (30, 20), (5, 4000)])
@pytest.mark.parametrize("sharpness", [1.0, 30.0])
def test_leaving_out_channels_that_cannot_win_changes_no_label(
    size: tuple[int, int], sharpness: float
) -> None:
    """Maps as a net gives them: smooth, sure of themselves in most places, and with ties between channels."""
    cv2 = pytest.importorskip("cv2")
    _, frame = fit(np.zeros((*size, 3), np.uint8), 96, 32)
    rough = np.random.default_rng(4).standard_normal((9, *frame.net)).astype(np.float32)
    logits = sharpness * np.stack([cv2.GaussianBlur(one, (0, 0), 5) for one in rough])
    logits[5] = logits[3]
    part_map = np.exp(logits) / np.exp(logits).sum(axis=0)
    expected = frame.probabilities(part_map).argmax(axis=0)
    assert len(np.unique(expected)) > 2
    assert np.array_equal(frame.labels(part_map), expected)

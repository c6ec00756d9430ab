import contextlib
import io
import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from partswap.errors import ImageError, UsageError
from partswap.imaging import list_images, load_image, load_mask
from partswap.imaging import (
    load as load_module,
)  # the module: the package hands out functions under other names

W, H = 37, 23
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def photo() -> np.ndarray:
    """A smooth picture without any symmetry, uint8 (23, 37, 3)."""
    y, x = np.mgrid[0:H, 0:W]
    return np.dstack([x * 255 // W, y * 255 // H, (x * y) * 255 // (W * H)]).astype(np.uint8)


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def png16(pixels: np.ndarray, color: int, *extra: tuple[bytes, bytes]) -> bytes:
    """Write a 16-bit PNG by hand, since Pillow writes only grey ones."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    return png([(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def check(loaded, rgb: np.ndarray, tolerance: int = 0) -> None:
    assert loaded.rgb.dtype == np.uint8
    assert loaded.rgb.flags.c_contiguous
    assert loaded.rgb.flags.writeable
    assert loaded.rgb.shape == rgb.shape
    assert np.abs(loaded.rgb.astype(int) - rgb).max() <= tolerance
    if loaded.alpha is not None:
        assert loaded.alpha.dtype == np.uint8
        assert loaded.alpha.flags.c_contiguous
        assert loaded.alpha.shape == rgb.shape[:2]


# ---------------------------------------------------------------- orientation


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an upright picture into what a camera stores under an orientation tag."""
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: upright.swapaxes(0, 1)[::-1],
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: upright.swapaxes(0, 1)[:, ::-1],
    }[orientation]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_come_out_upright(photo: np.ndarray, orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored(photo, orientation)))
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    loaded = load_image(encoded(image, form, exif=exif, **options))
    check(loaded, photo, tolerance=6 if form == "JPEG" else 0)
    assert loaded.format == form or orientation > 1


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_unknown_orientation_is_left_alone(photo: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    check(load_image(encoded(Image.fromarray(photo), "PNG", exif=exif)), photo)


def test_a_broken_exif_block_costs_no_photo(photo: np.ndarray) -> None:
    data = encoded(Image.fromarray(photo), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    check(load_image(data), photo)


def test_format_survives_turning(photo: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load_image(encoded(Image.fromarray(photo), "JPEG", exif=exif)).format == "JPEG"


# ---------------------------------------------------------------- colour modes


def test_grey(photo: np.ndarray) -> None:
    grey = photo[:, :, 0]
    loaded = load_image(encoded(Image.fromarray(grey), "PNG"))
    check(loaded, np.dstack([grey] * 3))
    assert loaded.alpha is None


def test_grey_with_alpha(photo: np.ndarray) -> None:
    grey, alpha = photo[:, :, 0], photo[:, :, 1]
    loaded = load_image(encoded(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), "PNG"))
    check(loaded, np.dstack([grey] * 3))
    assert np.array_equal(loaded.alpha, alpha)


def test_one_bit(photo: np.ndarray) -> None:
    bits = photo[:, :, 0] > 100
    loaded = load_image(encoded(Image.fromarray(bits), "PNG"))
    check(loaded, np.dstack([bits * 255] * 3))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_split_off_and_colour_is_kept(photo: np.ndarray, form: str) -> None:
    alpha = photo[:, :, 1]
    image = Image.fromarray(np.dstack([photo, alpha]))
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    loaded = load_image(encoded(image, form, **options))
    check(loaded, photo)
    assert np.array_equal(loaded.alpha, alpha)


def test_palette(photo: np.ndarray) -> None:
    image = Image.fromarray(photo).quantize(32)
    loaded = load_image(encoded(image, "PNG"))
    check(loaded, np.asarray(image.convert("RGB")))
    assert loaded.alpha is None


@pytest.mark.parametrize("transparency", [3, bytes([255, 0, 128, 7])], ids=["one entry", "table"])
def test_palette_with_transparency(photo: np.ndarray, transparency: int | bytes) -> None:
    image = Image.fromarray(photo).quantize(8)
    loaded = load_image(encoded(image, "PNG", transparency=transparency))
    table = np.full(256, 255, np.uint8)
    if isinstance(transparency, int):
        table[transparency] = 0
    else:
        table[: len(transparency)] = list(transparency)
    check(loaded, np.asarray(image.convert("RGB")))
    assert np.array_equal(loaded.alpha, table[np.asarray(image)])


def test_colour_keys(photo: np.ndarray) -> None:
    key = tuple(int(v) for v in photo[4, 5])
    loaded = load_image(encoded(Image.fromarray(photo), "PNG", transparency=key))
    assert np.array_equal(loaded.alpha == 0, (photo == photo[4, 5]).all(axis=2))
    grey = photo[:, :, 0]
    loaded = load_image(encoded(Image.fromarray(grey), "PNG", transparency=int(grey[4, 5])))
    assert np.array_equal(loaded.alpha == 0, grey == grey[4, 5])


def test_cmyk_without_profile(photo: np.ndarray) -> None:
    data = encoded(Image.fromarray(photo).convert("CMYK"), "JPEG", quality=100, subsampling=0)
    loaded = load_image(data)
    check(loaded, photo, tolerance=8)
    assert loaded.format == "JPEG"


def test_cmyk_with_a_broken_profile_still_loads(photo: np.ndarray) -> None:
    image = Image.fromarray(photo).convert("CMYK")
    data = encoded(image, "JPEG", quality=100, subsampling=0, icc_profile=b"\0" * 16 + b"CMYKnonsense" * 9)
    loaded = load_image(data)
    check(loaded, photo, tolerance=8)
    assert loaded.icc is None


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    deep = np.linspace(0, 65535, W * H).reshape(H, W).astype(np.uint16)
    expected = np.dstack([np.rint(deep / 257)] * 3)
    for form in ("PNG", "TIFF", "PPM"):
        check(load_image(encoded(Image.fromarray(deep), form)), expected, tolerance=0)


def test_16_bit_grey_with_colour_key() -> None:
    deep = np.arange(W * H).reshape(H, W) * 50
    loaded = load_image(png16(deep, 0, (b"tRNS", struct.pack(">H", 500))))
    assert np.array_equal(loaded.alpha == 0, deep == 500)


@pytest.mark.parametrize("color", [2, 6], ids=["rgb", "rgba"])
def test_16_bit_colour_is_scaled_not_clipped(photo: np.ndarray, color: int) -> None:
    deep = photo.astype(np.uint16) * 257
    if color == 6:
        deep = np.dstack([deep, deep[:, :, 0]])
    loaded = load_image(png16(deep, color))
    check(loaded, photo, tolerance=1)
    assert (loaded.alpha is not None) == (color == 6)


def test_16_bit_colour_with_16_bit_key_loads(photo: np.ndarray) -> None:
    loaded = load_image(png16(photo.astype(np.uint16) * 257, 2, (b"tRNS", struct.pack(">HHH", 999, 9999, 4))))
    check(loaded, photo, tolerance=1)


@pytest.mark.parametrize("values", [np.float32([[0.5, 1]]), np.int32([[-1, 70000]])])
def test_pixels_without_a_range_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ImageError, match="no agreed range"):
        load_image(encoded(Image.fromarray(values), "TIFF"))


def test_profile_is_kept_only_where_it_describes_rgb(photo: np.ndarray) -> None:
    assert load_image(encoded(Image.fromarray(photo), "PNG", icc_profile=SRGB)).icc == SRGB
    grey_profile = SRGB[:16] + b"GRAY" + SRGB[20:]
    assert load_image(encoded(Image.fromarray(photo[:, :, 0]), "PNG", icc_profile=grey_profile)).icc is None


# ---------------------------------------------------------------- animation and sizes


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_many(form: str) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    frames = [Image.new("RGB", (20, 10), colour) for colour in colours]
    options = {"WEBP": {"lossless": True}}.get(form, {})
    loaded = load_image(encoded(frames[0], form, save_all=True, append_images=frames[1:], **options))
    check(loaded, np.full((10, 20, 3), colours[0]))


def test_gif_with_transparency() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.paste(0, (0, 0, 4, 8))
    loaded = load_image(encoded(image, "GIF", transparency=0))
    assert (loaded.alpha[:, :4] == 0).all()
    assert (loaded.alpha[:, 4:] == 255).all()
    assert (loaded.rgb[:, 4:] == (200, 100, 50)).all()


@pytest.mark.parametrize("size", [(1, 1), (3000, 100), (100, 3000), (1, 500)])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_extreme_sizes(size: tuple[int, int], form: str) -> None:
    loaded = load_image(encoded(Image.new("RGB", size, (120, 60, 200)), form))
    check(loaded, np.broadcast_to(np.array([120, 60, 200]), (size[1], size[0], 3)), tolerance=4)


def test_large_pictures_are_copied_in_bands(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("partswap.imaging.modes._BAND_PIXELS", 100)
    check(load_image(encoded(Image.fromarray(photo), "PNG")), photo)


# ---------------------------------------------------------------- damage and malice


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_truncated_files_are_named(tmp_path: Path, form: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), form)
    path = tmp_path / "holiday.img"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError, match=r"holiday\.img"):
        load_image(path)


def test_flipped_bytes_raise_nothing_but_image_errors() -> None:
    random = np.random.default_rng(1)
    noise = Image.fromarray(random.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    for form in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM"):
        clean = encoded(noise, form)
        for _ in range(40):
            data = bytearray(clean)
            for at in random.integers(0, min(len(data), 200), 4):
                data[at] = random.integers(256)
            with contextlib.suppress(ImageError):
                assert load_image(bytes(data), max_pixels=10**6).rgb.dtype == np.uint8


@pytest.mark.parametrize(
    "data", [b"hello, I am text", b"\0" * 500, b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_image(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "notes.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"notes\.jpg.*(not an image|damaged)"):
        load_image(path)


def test_empty_missing_folder_and_heic(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"empty\.png: the file is empty"):
        load_image(tmp_path / "empty.png")
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        load_image(str(tmp_path / "gone.png"))
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="could not be opened"):
        load_image("a\0b.png")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(ImageError, match=r"HEIC.*JPEG or PNG"):
        load_image(tmp_path / "phone.heic")


def test_a_decompression_bomb_is_an_error_before_it_is_decoded(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(png([(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 7501 * 64)), (b"IEND", b"")]))
    with pytest.raises(ImageError, match=r"bomb\.png.*200,000,000 pixels"):
        load_image(path)


def test_the_ceiling_is_exact_and_pillow_keeps_its_own(photo: np.ndarray) -> None:
    data = encoded(Image.fromarray(photo), "PNG")
    before = Image.MAX_IMAGE_PIXELS
    check(load_image(data, max_pixels=W * H), photo)
    for ceiling in (W * H - 1, W * H // 3):  # Pillow warns up to twice its ceiling, and raises above
        with pytest.raises(ImageError, match="pixels allowed"):
            load_image(data, max_pixels=ceiling)
    for source in (photo, Image.fromarray(photo)):
        with pytest.raises(ImageError, match=rf"{W} x {H}"):
            load_image(source, max_pixels=W * H - 1)
    assert before == Image.MAX_IMAGE_PIXELS


def test_photos_between_pillows_ceiling_and_ours_load(
    photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    check(load_image(encoded(Image.fromarray(photo), "PNG")), photo)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_running_out_of_memory_is_a_sentence(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(ImageError, match="not enough memory"):
        load_image(encoded(Image.fromarray(photo), "PNG"))


# ---------------------------------------------------------------- sources


def test_every_kind_of_source(photo: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    data = path.read_bytes()
    for source in (path, str(path)):
        loaded = load_image(source)
        check(loaded, photo)
        assert (loaded.name, loaded.format) == (str(path), "PNG")
    assert load_image(data).name == "<bytes>"
    with path.open("rb") as stream:
        check(load_image(stream), photo)
        assert not stream.closed
    with Image.open(path) as image:
        check(load_image(image), photo)
        assert load_image(image).name == str(path)
        assert image.size == (W, H)  # still open and usable
    loaded = load_image(photo)
    check(loaded, photo)
    assert (loaded.name, loaded.format, loaded.icc) == ("<array>", None, None)
    assert not np.shares_memory(loaded.rgb, photo)


def test_a_stream_that_cannot_seek(photo: np.ndarray) -> None:
    data = encoded(Image.fromarray(photo), "PNG")
    reader, writer = os.pipe()
    thread = threading.Thread(target=lambda: (os.write(writer, data), os.close(writer)))
    thread.start()
    with os.fdopen(reader, "rb") as stream:
        check(load_image(stream), photo)
    thread.join()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe(photo: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: path.write_bytes(encoded(Image.fromarray(photo), "PNG")))
    thread.start()
    check(load_image(path), photo)
    thread.join()


def test_arrays(photo: np.ndarray) -> None:
    grey = photo[:, :, 0]
    check(load_image(grey), np.dstack([grey] * 3))
    check(load_image(grey[:, :, None]), np.dstack([grey] * 3))
    check(load_image(photo[:, ::-1]), photo[:, ::-1])
    check(load_image(grey > 9), np.dstack([(grey > 9) * 255] * 3))
    check(load_image(photo.astype(np.uint16) * 257), photo)
    loaded = load_image(np.dstack([photo, grey]))
    check(loaded, photo)
    assert np.array_equal(loaded.alpha, grey)
    loaded = load_image(photo[:, :, :2])
    check(loaded, np.dstack([grey] * 3))
    assert np.array_equal(loaded.alpha, photo[:, :, 1])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32.*uint8"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.zeros((4, 4, 5), np.uint8), "not one image"),
        (np.zeros((2, 4, 4, 3), np.uint8), "not one image"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
    ],
)
def test_arrays_that_are_refused(array: np.ndarray, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        load_image(array)


def test_other_objects_are_refused() -> None:
    with pytest.raises(ImageError, match="a int is not an image"):
        load_image(3)  # type: ignore[arg-type]


def test_a_pillow_image_keeps_its_orientation_tag(photo: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(io.BytesIO(encoded(Image.fromarray(photo), "PNG", exif=exif))) as image:
        for _ in range(2):
            check(load_image(image), photo[::-1, ::-1])


# ---------------------------------------------------------------- masks


def test_masks_of_every_kind(tmp_path: Path, photo: np.ndarray) -> None:
    inside = np.zeros((H, W), np.uint8)
    inside[5:15, 8:20] = 1
    palette = Image.fromarray(inside * 3)
    palette.putpalette([0, 0, 0, 9, 9, 9, 0, 0, 0, 128, 0, 0])
    grey_palette = Image.fromarray(inside)
    grey_palette.putpalette([0, 0, 0, 255, 255, 255])
    kinds = {
        "grey": Image.fromarray(inside * 255),
        "zero_one": Image.fromarray(inside),
        "bits": Image.fromarray(inside > 0),
        "rgb": Image.fromarray(np.dstack([inside * 255] * 3)),
        "cutout": Image.fromarray(np.dstack([photo, inside * 255])),
        "labels": palette,
        "grey_palette": grey_palette,
        "deep": Image.fromarray(inside.astype(np.uint16) * 65535),
    }
    for name, image in kinds.items():
        image.save(tmp_path / f"{name}.png")
        mask = load_mask(tmp_path / f"{name}.png")
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, inside * 255), name
    assert np.array_equal(load_mask(inside > 0), inside * 255)


def test_masks_are_brought_to_a_size() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 30:] = 255
    small = load_mask(mask, (6, 4))
    assert small.shape == (4, 6)
    assert (small[:, :2] < 30).all()
    assert (small[:, 4:] > 225).all()
    assert load_mask(mask, (120, 80)).shape == (80, 120)
    assert not load_mask(np.zeros((5, 5), np.uint8), (9, 9)).any()


# ---------------------------------------------------------------- folders


def test_list_images(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "sub/c.webp", "notes.txt", "._b.jpg", ".hidden/d.png", "sub/deep/e.TIFF"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path, target_is_directory=True)
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert names == ["a.png", "b.JPG", "sub/c.webp", "sub/deep/e.TIFF"]
    assert [path.name for path in list_images(str(tmp_path), recursive=False)] == ["a.png", "b.JPG"]
    assert list_images(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    with pytest.raises(UsageError, match="no such file or folder"):
        list_images(tmp_path / "nowhere")


def test_the_ceiling_is_a_plain_constant() -> None:
    assert load_module.MAX_PIXELS == 200_000_000

"""Bad and odd pictures, the same ones every time: `write_bad_images(folder)`."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from bad_jpegs import endless_scans, with_segment
from cases import EITHER, FINE, REFUSED, Case
from PIL import Image, ImageCms

__all__ = ["encoded", "picture", "write_bad_images"]

SIZE = (64, 80)
CUTS = (0.02, 0.3, 0.6, 0.85)
"""Where files are cut off, as shares of their length."""
FUZZED = 3
"""How many fuzzed copies of each format."""
FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF", "gif": "GIF", "bmp": "BMP"}

Made = tuple[str, bytes, str, str]
"""Name, content, what is wrong with it, what is expected."""


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    """Patches and gradients, (width, height) = size, RGB."""
    width, height = size
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3)).repeat(16, 0).repeat(16, 1)
    ramp = np.linspace(0, 60, width)[None, :, None]
    return Image.fromarray((patches[:height, :width] * 0.7 + ramp).astype(np.uint8))


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def write_bad_images(folder: Path) -> list[Case]:
    """Write the corpus into an existing folder, and return what it holds, sorted by name."""
    cases = []
    for name, content, about, expected in _files():
        (folder / name).write_bytes(content)
        cases.append(Case(name, about, expected))
    for name, make, about in _places():
        with suppress(OSError, NotImplementedError, AttributeError):  # not every system has every kind
            make(folder / name)
            cases.append(Case(name, about))
    return sorted(cases, key=lambda case: case.name)


def _files() -> Iterator[Made]:
    yield from _truncated()
    yield from _fuzzed()
    yield from _impostors()
    yield from _claims()
    yield from _odd_modes()
    yield from _bad_metadata()
    yield from _odd_names()


def _truncated() -> Iterator[Made]:
    for ending, form in FORMATS.items():
        whole = encoded(picture(1), form)
        for cut in CUTS:
            if form == "GIF" and cut > 0.8:
                continue  # its last bytes are an end mark, which decoders do without
            name = f"cut-{round(cut * 100):02d}.{ending}"
            yield name, whole[: int(len(whole) * cut)], f"{form} cut off at {cut:.0%}", REFUSED


def _fuzzed() -> Iterator[Made]:
    for number, (ending, form) in enumerate(FORMATS.items()):
        whole = encoded(picture(2), form)
        for copy in range(FUZZED):
            rng = np.random.default_rng((number, copy))
            data = bytearray(whole)
            for at in rng.integers(0, min(len(data), 400 * (copy + 1)), 6):
                data[at] = rng.integers(256)
            yield f"fuzzed-{copy}.{ending}", bytes(data), f"{form} with 6 random bytes", EITHER


def _impostors() -> Iterator[Made]:
    yield "empty.jpg", b"", "no bytes at all", REFUSED
    yield "text.jpg", b"I am a text, not a photo.\n" * 20, "text named .jpg", REFUSED
    yield "zeros.png", bytes(5000), "zero bytes named .png", REFUSED
    yield "page.png", b"<!doctype html><title>404</title>", "an error page named .png", REFUSED
    yield "vector.jpg", b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>', "SVG named .jpg", REFUSED
    yield "paper.jpg", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n", "PDF", REFUSED
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 80\n%%EndComments\n(ran) print quit\n"
    yield "script.eps", postscript, "EPS, which only Ghostscript could draw", REFUSED
    yield "script.jpg", postscript, "EPS named .jpg", REFUSED
    dos = struct.pack("<4sIIIIIIH", b"\xc5\xd0\xd3\xc6", 32, len(postscript), 0, 0, 0, 0, 0xFFFF) + bytes(2)
    yield "script-dos.png", dos + postscript, "binary EPS named .png", REFUSED
    yield "meta.bmp", struct.pack("<IHHhhhhHIH", 0x9AC6CDD7, 0, 0, 0, 0, 9, 9, 72, 0, 0), "WMF", REFUSED
    yield "flash.gif", b"FWS\x05" + bytes(100), "Flash named .gif", REFUSED
    yield "clip.jpg", b"\0\0\0\x18ftypmp42" + bytes(200), "a video named .jpg", REFUSED
    yield "phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC named .jpg", REFUSED
    yield "program.png", b"\x7fELF\x02\x01\x01" + bytes(200), "a program named .png", REFUSED
    yield "archive.jpg", b"PK\x03\x04" + bytes(200), "a zip archive named .jpg", REFUSED
    yield "is-png.jpg", encoded(picture(), "PNG"), "a PNG named .jpg", FINE
    yield "tail.jpg", encoded(picture(), "JPEG") + b"PK\x03\x04<script>" * 50, "a JPEG with a tail", FINE


def _claims() -> Iterator[Made]:
    """Headers that claim more than there is, or more than a machine has."""
    yield "bomb.png", png_of(60_000, 60_000), "PNG of 60000 x 60000 pixels, 30 kB", REFUSED
    yield "bomb-max.png", png_of(2**31 - 1, 2**31 - 1, rows=1), "PNG of 2^31 x 2^31 pixels", REFUSED
    yield "zero-wide.png", png_of(0, 80, rows=1), "PNG of no width", REFUSED
    whole = bytearray(encoded(picture(), "JPEG"))
    at = whole.index(b"\xff\xc0") + 5
    whole[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    yield "bomb.jpg", bytes(whole), "JPEG that claims 65500 x 65500", REFUSED
    yield "scans.jpg", endless_scans((4000, 4000), 3000), "progressive JPEG, 3000 scans", REFUSED
    gif = bytearray(encoded(picture(), "GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    yield "bomb.gif", bytes(gif), "GIF whose canvas is 65535 x 65535", REFUSED
    bmp = bytearray(encoded(picture(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 100_000, 100_000)
    yield "bomb.bmp", bytes(bmp), "BMP that claims 100000 x 100000", REFUSED
    bmp[18:26] = struct.pack("<ii", 14_000, 14_000)
    yield "short.bmp", bytes(bmp), "BMP that claims 14000 x 14000 and holds 64 x 80", REFUSED
    yield "bomb.ppm", b"P6 90000 90000 255\n" + bytes(300), "PPM that claims 90000 x 90000", REFUSED
    yield "words.ppm", b"P3 4 4 255\n1 2 three 4", "PPM with words among its numbers", REFUSED
    yield "negative.ppm", b"P6 -64 80 255\n" + bytes(300), "PPM of negative width", REFUSED
    tif = encoded(picture(), "TIFF")
    width = struct.pack("<HHII", 256, 4, 1, SIZE[0])
    big = tif.replace(width, struct.pack("<HHII", 256, 4, 1, 9_000_000))
    assert width in tif
    yield "bomb.tif", big, "TIFF that claims to be 9000000 wide", REFUSED
    yield (
        "circle.tif",
        struct.pack("<2sHIHI", b"II", 42, 8, 0, 8),
        "TIFF whose directory follows itself",
        REFUSED,
    )
    yield (
        "text-bomb.png",
        png_of(*SIZE, extra=[(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 24), 9))]),
        ("PNG with 16 MiB of compressed text"),
        EITHER,
    )
    yield (
        "icc-bomb.png",
        png_of(*SIZE, extra=[(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 24), 9))]),
        ("PNG with 16 MiB of compressed profile"),
        EITHER,
    )


def _odd_modes() -> Iterator[Made]:
    rgb = picture()
    yield "one.png", encoded(picture(size=(1, 1)), "PNG"), "1 x 1 pixel", FINE
    yield "tall.png", encoded(Image.new("RGB", (1, 30_000), "red"), "PNG"), "1 x 30000 pixels", FINE
    yield "wide.jpg", encoded(Image.new("RGB", (30_000, 1), "red"), "JPEG"), "30000 x 1 pixels", FINE
    yield "cmyk.jpg", encoded(rgb.convert("CMYK"), "JPEG"), "CMYK", FINE
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield "cmyk-rgb.jpg", encoded(rgb.convert("CMYK"), "JPEG", icc_profile=profile), "CMYK, RGB profile", FINE
    deep = np.asarray(rgb.convert("L")).astype(np.uint16) * 257
    yield "deep.png", encoded(Image.fromarray(deep), "PNG"), "16-bit grey", FINE
    yield "deep.tif", encoded(Image.fromarray(deep), "TIFF"), "16-bit grey TIFF", FINE
    yield "float.tif", encoded(Image.fromarray(np.full((80, 64), np.nan, np.float32)), "TIFF"), "NaN", REFUSED
    yield "lab.tif", encoded(Image.new("LAB", SIZE), "TIFF"), "LAB colours", EITHER
    yield "palette.png", encoded(rgb.quantize(7), "PNG", transparency=3), "palette, one colour clear", FINE
    yield "bits.png", encoded(rgb.convert("1"), "PNG"), "1 bit", FINE
    yield "clear.png", encoded(Image.new("RGBA", SIZE, (9, 9, 9, 0)), "PNG"), "wholly transparent", FINE
    frames = [picture(seed) for seed in range(4)]
    for ending in ("gif", "webp", "png", "tif"):
        data = encoded(frames[0], FORMATS[ending], save_all=True, append_images=frames[1:])
        yield f"moving.{ending}", data, "4 frames", FINE
    webp = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    yield "moving-cut.webp", webp[: len(webp) // 2], "4 frames, cut in the middle", EITHER


def _bad_metadata() -> Iterator[Made]:
    rgb = picture()
    yield (
        "exif.jpg",
        encoded(rgb, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(40)),
        "broken EXIF",
        FINE,
    )
    turned = Image.Exif()
    turned[0x0112] = 77
    yield "turned.jpg", encoded(rgb, "JPEG", exif=turned), "orientation 77", FINE
    words = b"Exif\0\0" + struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0112, 2, 9, 26, 0) + b"sideways\0"
    yield "words.jpg", encoded(rgb, "JPEG", exif=words), "an orientation in words", FINE
    yield "icc.jpg", encoded(rgb, "JPEG", icc_profile=b"no profile at all"), "broken profile", FINE
    yield "icc.png", encoded(rgb, "PNG", icc_profile=bytes(16) + b"RGB " + bytes(400)), "hollow profile", FINE
    yield (
        "icc-cmyk.jpg",
        encoded(rgb.convert("CMYK"), "JPEG", icc_profile=b"\xff" * 300),
        "CMYK, broken",
        FINE,
    )
    large = bytes(16) + b"RGB " + bytes(20 << 20)
    yield "icc-large.tif", encoded(rgb, "TIFF", icc_profile=large), "a profile of 20 MiB", FINE
    comments = with_segment(encoded(rgb, "JPEG"), 0xFE, b"\xff\xda" * 30_000)
    yield "comments.jpg", comments, "a JPEG whose comment looks like scans", FINE
    mpf = with_segment(encoded(rgb, "JPEG"), 0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff" + bytes(30))
    yield "mpf.jpg", mpf, "a JPEG with a broken index of pictures", EITHER


def _odd_names() -> Iterator[Made]:
    whole = encoded(picture(4), "PNG")
    names = {
        "-leading dash.png": "a name like an option",
        "new\nline.png": "a line break in the name",
        "\x1b[31mred.png": "a terminal's escape in the name",
        "naïve 名 🦊.png": "letters of many scripts in the name",
        "a*[b]?.png": "a name like a glob",
        "x" * 250 + ".png": "a name too long for its results",
        os.fsdecode(b"latin-\xe9.png"): "a name that is no UTF-8",
        "photo.PNG.png": "two endings",
        " .png": "a name that is a blank",
    }
    for name, about in names.items():
        yield name, whole, about, REFUSED if len(name) > 200 else FINE


def _places() -> Iterator[tuple[str, Callable[[Path], object], str]]:
    """What is no file at all."""

    def locked(path: Path) -> None:
        path.write_bytes(encoded(picture(), "PNG"))
        path.chmod(0)

    yield "folder.jpg", lambda path: path.mkdir(), "an empty folder named .jpg"
    yield "dangling.png", lambda path: path.symlink_to("nowhere.png"), "a link to nothing"
    yield "loop.png", lambda path: path.symlink_to(path.name), "a link to itself"
    yield "pipe.jpg", lambda path: os.mkfifo(path), "a named pipe that nobody writes to"
    yield "device.png", lambda path: path.symlink_to("/dev/zero"), "a link to an endless device"
    yield "locked.png", locked, "a file that may not be read"


def png_of(
    width: int, height: int, rows: int | None = None, extra: list[tuple[bytes, bytes]] | None = None
) -> bytes:
    """A grey PNG, 1 bit a pixel, with at most 64 rows of data whatever its header claims."""
    count = min(height, 64 if rows is None else rows)
    line = bytes(1 + min(width, 60_000) // 8 + 1)
    if extra:  # a picture that is whole, so that only the chunk in front of it is odd
        count, line = height, bytes(1 + -(-width // 8))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
        *(extra or []),
        (b"IDAT", zlib.compress(line * count)),
        (b"IEND", b""),
    ]
    made = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)

"""JPEG files put together by hand."""

from __future__ import annotations

import io
import struct

from PIL import Image

__all__ = ["endless_scans", "with_segment"]


def with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    """The file with one more segment after its start."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data + jpeg[2:]


def endless_scans(size: tuple[int, int], count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again: a few hundred bytes each, and every one costs
    the decoder a pass over the whole picture."""
    buffer = io.BytesIO()
    flat = Image.new("L", size, 128)
    flat.save(buffer, "JPEG", progressive=True)
    whole = buffer.getvalue()
    at = whole.rindex(b"\xff\xda")
    table = whole.rindex(b"\xff\xc4", 0, at)
    return whole[:table] + whole[table:-2] * count + whole[-2:]

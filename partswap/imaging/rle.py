"""Masks as COCO's compressed run lengths: what `pycocotools` writes and reads, without needing it.

A mask is read column by column; the lengths of its runs, background first, are written as differences to the
run before the last, five bits a character, lowest first.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

__all__ = ["Rle", "decode_rle", "encode_rle", "label_runs"]


class Rle(TypedDict):
    """size: [height, width]. counts: the compressed run lengths, ASCII."""

    size: list[int]
    counts: str


def encode_rle(mask: np.ndarray) -> Rle:
    """A mask (H, W), bool or anything where not zero means inside, as COCO run lengths."""
    return label_runs((np.asarray(mask) != 0).astype(np.uint8), 1)[0]


def label_runs(labels: np.ndarray, ids: int) -> list[Rle]:
    """The masks of ids 1..`ids` of a label map uint8 (H, W): one pass over the pixels, not one an id."""
    height, width = labels.shape
    flat = np.ravel(labels, order="F")
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(np.append(starts, flat.size))
    values = flat[starts]
    runs: list[Rle] = []
    for part_id in range(1, ids + 1):
        mine = values == part_id
        begin, length = starts[mine], lengths[mine]
        end = begin + length
        counts = np.empty(2 * len(begin) + 1, np.int64)
        counts[0:-1:2] = begin - np.concatenate(([0], end[:-1])) if len(begin) else begin
        counts[1::2] = length
        counts[-1] = flat.size - (end[-1] if len(end) else 0)
        if counts[-1] == 0 and len(counts) > 1:
            counts = counts[:-1]
        runs.append({"size": [height, width], "counts": _compress(counts.tolist())})
    return runs


def decode_rle(rle: Rle) -> np.ndarray:
    """The mask, bool (H, W). Raises ValueError if the counts are not valid or do not fill the size."""
    height, width = rle["size"]
    counts = _expand(rle["counts"])
    if any(count < 0 for count in counts) or sum(counts) != height * width:
        raise ValueError(f"the runs do not fill {height} x {width} pixels")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def _compress(counts: list[int]) -> str:
    out = bytearray()
    for index, count in enumerate(counts):
        # like the original, which starts to write differences at the fourth run
        value = count - counts[index - 2] if index > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            last = value == (-1 if bits & 16 else 0)  # the fifth bit is the sign of what is left
            out.append((bits if last else bits | 32) + 48)
            if last:
                break
    return out.decode("ascii")


def _expand(text: str) -> list[int]:
    counts: list[int] = []
    value = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        if not 0 <= bits < 64:
            raise ValueError("the counts hold a character that run lengths never do")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("the counts end in the middle of a number")
    return counts

"""Networks from the plain dictionaries that a checkpoint's config.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from partswap.nets.renderer import Renderer
from partswap.nets.segmenter import Segmenter


def build_student(config: Mapping[str, Any]) -> Segmenter:
    """``{"backbone": str, "parts": K, "width": int}`` -> a student with random weights; raises UsageError for
    an unknown backbone."""
    return Segmenter(str(config["backbone"]), int(config["parts"]), int(config["width"]))


def build_renderer(config: Mapping[str, Any]) -> Renderer:
    """``{"parts": K, "appearance": A, "width": int}`` -> a renderer with random weights."""
    return Renderer(int(config["parts"]), int(config["appearance"]), int(config["width"]))

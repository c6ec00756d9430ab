"""partswap: learn the parts of a thing from unlabelled photos, segment them, carry their look from photo to
photo.

import partswap
model = partswap.load()                    # the embedded model; or a folder, or "owner/name@revision"
parts = model.segment("photo.jpg")         # a path, a PIL image or a uint8 array (H, W, 3)
chest = parts.mask("chest")                # bool (H, W), at the photo's own size
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from partswap.segmentation import Model, Segmentation, load, segment
    from partswap.transfer.api import transfer

__version__ = "0.1.0"
__all__ = ["Model", "Segmentation", "__version__", "load", "segment", "transfer"]

# ONNX Runtime (1.31 for one) sends what it does to its maker, and writes a file where temporary files go;
# only this variable, before it is imported, stops all of it. Photos are private, and so is what runs on them.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Where each public name lives: nothing is imported (numpy, torch) before it is asked for, or `--help` would
# be slow.
_HOMES = {
    "Model": "segmentation",
    "Segmentation": "segmentation",
    "load": "segmentation",
    "segment": "segmentation",
    "transfer": "transfer.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'partswap' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""What a trained model is on disk, and where one is found: `read_checkpoint`, `write_checkpoint`,
`resolve_model`."""

from partswap.checkpoint.config import Config
from partswap.checkpoint.format import (
    Checkpoint,
    read_checkpoint,
    write_checkpoint,
    write_closer,
    write_parts,
)
from partswap.checkpoint.resolve import DEFAULT_MODEL, embedded_models, is_embedded, resolve_model

__all__ = [
    "DEFAULT_MODEL",
    "Checkpoint",
    "Config",
    "embedded_models",
    "is_embedded",
    "read_checkpoint",
    "resolve_model",
    "write_checkpoint",
    "write_closer",
    "write_parts",
]

"""A checkpoint as a file that runs without partswap: `export_onnx`."""

from partswap.export.onnx import Exported, export_onnx

__all__ = ["Exported", "export_onnx"]

"""A run in, an ONNX file out: checked to predict and generate the same in onnxruntime."""

from charloom.formats.onnx.export import DifferenceError, Exported, export_onnx

__all__ = ["DifferenceError", "Exported", "export_onnx"]

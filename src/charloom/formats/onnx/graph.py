"""An ONNX graph under construction: its nodes, one after another, and the constants they read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import NodeProto, TensorProto, helper, numpy_helper

AFTER = ".after"  # ends the name of a state that is the next call's input


class Graph:
    """Nodes and constants; every value has a name, by which other nodes read it."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: ArrayLike, name: str = "") -> str:
        """Add an array, floats as float32 and integers as int64; return its name."""
        array = np.asarray(value)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        name = name or f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        name = name or f"{operator}{len(self.nodes)}"
        self.add_several(operator, inputs, [name], **attributes)
        return name

    def add_several(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        """Add a node whose outputs have these names."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))

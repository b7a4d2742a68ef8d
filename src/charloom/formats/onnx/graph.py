"""An ONNX graph as it is written down: one node after another, and the constants they read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import NodeProto, TensorProto, helper, numpy_helper

AFTER = ".after"  # behind the name of a state: what the next call has as its input


class Graph:
    """Nodes and constants; whatever is computed has a name, which is handed on to other nodes."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, value: ArrayLike, name: str = "") -> str:
        """Add an array, floats as float32 and whole numbers as int64; return its name."""
        array = np.asarray(value)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        name = name or f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one output; return the name of that."""
        name = name or f"{operator}{len(self.nodes)}"
        self.add_several(operator, inputs, [name], **attributes)
        return name

    def add_several(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        """Add a node whose outputs have these names."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))

"""An ONNX graph under construction; what is to be written down gets it passed and needs no onnx itself."""

from functools import cached_property
from typing import Any

import numpy as np
import onnx
import torch as th
from onnx import helper, numpy_helper

from sb3_qflex.export.stored import stored


class Graph:
    """
    Nodes and constants; every method adds a node and returns the name of its output.

    :param storage: How matrices are stored, see :mod:`sb3_qflex.export.stored`; they are computed with in float32.
    """

    def __init__(self, storage: str = "float32") -> None:
        self.storage = storage
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any) -> str:
        """An initializer with an array or number in its dtype."""
        name = f"/constant_{len(self.constants)}"
        if isinstance(value, th.Tensor):
            value = stored({f"The matrix {name}": value.detach()}, self.storage).popitem()[1].numpy()
        array = np.ascontiguousarray(value)
        self.constants.append(numpy_helper.from_array(array, name))
        return self.cast(name, onnx.TensorProto.FLOAT) if array.dtype == np.float16 else name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output, of an ONNX operator, from the names of its inputs."""
        return self.add_many(op, *inputs, n_outputs=1, **attributes)[0]

    def add_many(self, op: str, *inputs: str, n_outputs: int, **attributes: Any) -> list[str]:
        """A node with several outputs; the names of all of them."""
        outputs = [f"/{op}_{len(self.nodes)}_{i}" for i in range(n_outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), outputs, **attributes))
        return outputs

    def cast(self, x: str, to: int) -> str:
        """To a data type of ``TensorProto``."""
        return self.add("Cast", x, to=to)

    def clamp(self, x: str) -> str:
        """A float32 value clamped to [-1, 1]."""
        return self.add("Clip", x, *self._unit_interval)

    @cached_property
    def _unit_interval(self) -> tuple[str, str]:
        return self.constant(np.float32(-1.0)), self.constant(np.float32(1.0))

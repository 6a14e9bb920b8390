"""
The exported policy as an ONNX graph, node by node.

Written out instead of traced: the graph is the same under every version of torch, and the smallest there is. The
weights of the flow are stored once and used by all K steps.
"""

import io
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
import torch as th
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from sb3_qflex.common.networks import LOG_STD_MAX, LOG_STD_MIN
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export.networks import ExportedMLP
from sb3_qflex.export.observations import Extractor, InputEncoder
from sb3_qflex.export.policy_module import BoxScale, ExportedPolicy

OPSET = 17
#: Of the file format that came with opset 17, so that runtimes of its age read the file.
IR_VERSION = 8


class Graph:
    """Nodes and constants; every method adds a node and returns the name of its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any) -> str:
        """
        :param value: Array or number; kept in its dtype.
        """
        array = value.detach().numpy() if isinstance(value, th.Tensor) else np.asarray(value)
        name = f"/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """
        :param op: ONNX operator with one output.
        :param inputs: Names of its inputs.
        :param attributes: Its attributes.
        """
        return self.add_many(op, *inputs, n_outputs=1, **attributes)[0]

    def add_many(self, op: str, *inputs: str, n_outputs: int, **attributes: Any) -> list[str]:
        """
        :param op: ONNX operator.
        :param inputs: Names of its inputs.
        :param n_outputs: Number of its outputs.
        :param attributes: Its attributes.
        :return: Names of its outputs.
        """
        outputs = [f"/{op}_{len(self.nodes)}_{i}" for i in range(n_outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), outputs, **attributes))
        return outputs

    def cast(self, x: str, to: int) -> str:
        """
        :param x: Name of the input.
        :param to: A data type of ``TensorProto``.
        """
        return self.add("Cast", x, to=to)


def build_model(policy: ExportedPolicy) -> onnx.ModelProto:
    """
    :param policy: What to write down.
    :return: Checked by ONNX; inputs and output as those of the policy, with a dynamic batch.
    :raises ValueError: If a features extractor cannot be traced.
    """
    graph = Graph()
    names = [*policy.names, *(["noise"] if policy.takes_noise else [])]
    action = _policy(graph, policy)
    graph.nodes.append(helper.make_node("Identity", [action], ["action"]))
    dims = [*(encoder.dim for encoder in policy.encoders), policy.action_dim]
    inputs = [_value(name, dim) for name, dim in zip(names, dims, strict=False)]
    proto = helper.make_graph(graph.nodes, "qflex", inputs, [_value("action", policy.action_dim)], graph.constants)
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def _value(name: str, dim: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", dim])


def _policy(graph: Graph, policy: ExportedPolicy) -> str:
    encoded = [_encode(graph, encoder, name) for encoder, name in zip(policy.encoders, policy.names, strict=True)]
    features = _extract(graph, policy.extractor, encoded)
    actions = _source(graph, policy, features)
    minus_one, one = graph.constant(np.float32(-1.0)), graph.constant(np.float32(1.0))
    if policy.field is not None:
        if policy.field_extractor is not policy.extractor:
            features = _extract(graph, policy.field_extractor, encoded)
        actions = _flow(graph, policy, features, actions, lambda x: graph.add("Clip", x, minus_one, one))
    return _scale(graph, policy.scale, graph.add("Clip", actions, minus_one, one))


def _encode(graph: Graph, encoder: InputEncoder, x: str) -> str:
    if encoder.normalizes:
        x = graph.add("Sub", graph.cast(x, TensorProto.DOUBLE), graph.constant(encoder.mean))
        x = graph.add("Div", x, graph.constant(encoder.std))
        x = graph.add("Clip", x, graph.constant(-encoder.clip), graph.constant(encoder.clip))
        x = graph.cast(x, TensorProto.FLOAT)
    if encoder.is_one_hot:
        x = graph.add("Gather", x, graph.constant(encoder.columns), axis=1)
        x = graph.cast(graph.add("Equal", x, graph.constant(encoder.values)), TensorProto.FLOAT)
    return x


def _source(graph: Graph, policy: ExportedPolicy, features: str) -> str:
    output = _propagate(graph, policy.source, _hoist(graph, policy.source, features))
    if policy.takes_noise:
        mean, log_std = graph.add_many("Split", output, n_outputs=2, axis=1)
        bounds = (graph.constant(np.float32(bound)) for bound in (LOG_STD_MIN, LOG_STD_MAX))
        std = graph.add("Exp", graph.add("Clip", log_std, *bounds))
        output = graph.add("Add", mean, graph.add("Mul", std, "noise"))
    return graph.add("Tanh", output)


def _flow(graph: Graph, policy: ExportedPolicy, features: str, actions: str, clip: Callable[[str], str]) -> str:
    assert policy.field is not None
    n_steps, width = policy.time_biases.shape
    # The first layer's part that is known beforehand, for all K times at once: a node less in every step.
    hoisted = graph.add("Unsqueeze", _hoist(graph, policy.field, features), graph.constant(np.array([1])))
    hoisted = graph.add("Add", hoisted, graph.constant(policy.time_biases))
    flat = graph.add("Reshape", hoisted, graph.constant(np.array([-1, n_steps * width])))
    first_layers = graph.add_many("Split", flat, n_outputs=n_steps, axis=1)
    action_weight = graph.constant(policy.field.input_weight[:, :-1].t())
    layers = _constants(graph, policy.field.layers)
    for first_layer in first_layers:
        z = graph.add("Gemm", actions, action_weight, first_layer)
        step = _propagate(graph, policy.field, z, layers)
        actions = graph.add("Add", actions, clip(step))
    return actions


def _scale(graph: Graph, scale: BoxScale, actions: str) -> str:
    if scale.is_identity:
        return actions
    x = graph.add("Add", graph.cast(actions, TensorProto.DOUBLE), graph.constant(1.0))
    x = graph.add("Mul", graph.add("Mul", x, graph.constant(0.5)), graph.constant(scale.width))
    x = graph.cast(graph.add("Add", x, graph.constant(scale.low)), TensorProto.FLOAT)
    x = graph.add("Max", x, graph.constant(scale.smallest))
    return graph.add("Min", x, graph.constant(scale.largest))


# --- Networks ---


def _constants(graph: Graph, layers: Iterable[Any]) -> list[tuple[str, str]]:
    """Weights (inputs, outputs), the layout that a single row multiplies fastest, and biases."""
    return [(graph.constant(layer.weight.t()), graph.constant(layer.bias)) for layer in layers]


def _hoist(graph: Graph, mlp: ExportedMLP, features: str) -> str:
    centred = graph.add("Sub", features, graph.constant(mlp.centre))
    return graph.add("Gemm", centred, *_constants(graph, [mlp.first])[0])


def _propagate(graph: Graph, mlp: ExportedMLP, z: str, layers: list[tuple[str, str]] | None = None) -> str:
    for activation, layer in zip(mlp.activations, layers or _constants(graph, mlp.layers), strict=True):
        z = graph.add("Gemm", _activate(graph, activation, z), *layer)
    return z


def _activate(graph: Graph, activation: nn.Module, z: str) -> str:
    return _ACTIVATIONS[type(activation).__name__](graph, activation, z)


def _gelu(graph: Graph, activation: Any, z: str) -> str:
    if activation.approximate != "none":
        raise UnsupportedError(f"{activation} cannot be exported to ONNX: use the exact GELU.")
    erf = graph.add("Erf", graph.add("Mul", z, graph.constant(np.float32(math.sqrt(0.5)))))
    half = graph.add("Mul", z, graph.constant(np.float32(0.5)))
    return graph.add("Mul", half, graph.add("Add", erf, graph.constant(np.float32(1.0))))


_ACTIVATIONS: dict[str, Callable[[Graph, Any, str], str]] = {
    "ReLU": lambda graph, _, z: graph.add("Relu", z),
    "LeakyReLU": lambda graph, layer, z: graph.add("LeakyRelu", z, alpha=layer.negative_slope),
    "ELU": lambda graph, layer, z: graph.add("Elu", z, alpha=layer.alpha),
    "SELU": lambda graph, _, z: graph.add("Selu", z),
    "GELU": _gelu,
    "SiLU": lambda graph, _, z: graph.add("Mul", z, graph.add("Sigmoid", z)),
    "Sigmoid": lambda graph, _, z: graph.add("Sigmoid", z),
    "Tanh": lambda graph, _, z: graph.add("Tanh", z),
}


# --- Features extractors ---


def _extract(graph: Graph, extractor: Extractor, encoded: list[str]) -> str:
    if extractor.is_plain:
        return graph.add("Concat", *encoded, axis=1) if len(encoded) > 1 else encoded[0]
    traced = _trace(extractor, len(encoded))
    prefix = f"/extractor_{len(graph.nodes)}/"
    renamed = onnx.compose.add_prefix(traced, prefix)
    given = {f"{prefix}input_{i}": name for i, name in enumerate(encoded)}
    for node in renamed.graph.node:
        node.input[:] = [given.get(name, name) for name in node.input]
    graph.nodes.extend(renamed.graph.node)
    graph.constants.extend(renamed.graph.initializer)
    return renamed.graph.output[0].name


def _trace(extractor: Extractor, n_inputs: int) -> onnx.ModelProto:
    """The graph of a features extractor of the user's, by torch's exporter."""
    names = [f"input_{i}" for i in range(n_inputs)]
    examples = tuple(th.zeros(2, int(np.prod(shape))) for shape in extractor.shapes.values())
    file = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # A branch on data would be frozen as it went for the example.
            warnings.simplefilter("error", th.jit.TracerWarning)
            th.onnx.export(
                extractor,
                examples,
                file,  # type: ignore[arg-type]
                input_names=names,
                output_names=["features"],
                dynamic_axes={name: {0: "batch"} for name in [*names, "features"]},
                opset_version=OPSET,
                dynamo=False,
            )
    except Exception as error:
        raise UnsupportedError(
            f"The features extractor {extractor.title} cannot be exported to ONNX: {error}"
        ) from error
    return onnx.load_from_string(file.getvalue())

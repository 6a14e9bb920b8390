"""
The exported policy as an ONNX graph, node by node.

Written out instead of traced: the graph is the same under every version of torch, and the smallest there is.
"""

import io
import warnings

import numpy as np
import onnx
import torch as th
from onnx import TensorProto, helper

from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export.graph import Graph
from sb3_qflex.export.observations import NOISE, Extractor, InputEncoder
from sb3_qflex.export.policy_module import BoxClip, BoxScale, ExportedPolicy

OPSET = 17
#: Of the file format that came with opset 17, so that runtimes of its age read the file.
IR_VERSION = 8


def build_model(policy: ExportedPolicy, storage: str = "float32") -> onnx.ModelProto:
    """What ONNX has checked, with inputs and output as those of the policy and a dynamic batch."""
    graph = Graph(storage)
    dims = {name: encoder.dim for name, encoder in zip(policy.names, policy.encoders, strict=True)}
    if policy.takes_noise:
        dims[NOISE] = policy.head.noise_dim
    action = _policy(graph, policy)
    graph.nodes.append(helper.make_node("Identity", [action], ["action"]))
    inputs = [_value(name, dim) for name, dim in dims.items()]
    proto = helper.make_graph(graph.nodes, "policy", inputs, [_value("action", policy.action_dim)], graph.constants)
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def _value(name: str, dim: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", dim])


def _policy(graph: Graph, policy: ExportedPolicy) -> str:
    encoded = [_encode(graph, encoder, name) for encoder, name in zip(policy.encoders, policy.names, strict=True)]
    features = [_extract(graph, extractor, encoded) for extractor in policy.extractors]
    noise = [NOISE] if policy.takes_noise else []
    actions = policy.head.write(graph, *(features[place] for place in policy.places), *noise)
    return _to_box(graph, policy.to_box, actions)


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


def _to_box(graph: Graph, box: BoxClip, actions: str) -> str:
    if isinstance(box, BoxScale):
        actions = graph.clamp(actions)
        if box.is_identity:
            return actions
        x = graph.add("Add", graph.cast(actions, TensorProto.DOUBLE), graph.constant(1.0))
        x = graph.add("Mul", graph.add("Mul", x, graph.constant(0.5)), graph.constant(box.width))
        actions = graph.cast(graph.add("Add", x, graph.constant(box.low)), TensorProto.FLOAT)
    return graph.add("Min", graph.add("Max", actions, graph.constant(box.smallest)), graph.constant(box.largest))


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
    examples = tuple(th.zeros(2, int(np.prod(shape)), dtype=th.float32) for shape in extractor.shapes.values())
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

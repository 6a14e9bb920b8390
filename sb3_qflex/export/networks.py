"""Eval-mode networks as plain affine layers, with every BatchRenorm folded in double precision."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch as th
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from sb3_qflex.common.batch_renorm import BatchRenorm
from sb3_qflex.common.fast.folding import Affine
from sb3_qflex.common.networks import RenormMLP
from sb3_qflex.common.validation import UnsupportedError

if TYPE_CHECKING:
    from sb3_qflex.export.graph import Graph  # onnx is optional

#: Activations that every export format knows, by the name that the policy file has for them.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    cls.__name__: cls
    for cls in (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh)
}


class FoldedLayers(NamedTuple):
    """
    x -> affines[-1](... activations[0](affines[0](x - centre))), in float64.

    The mean of the input's normalisation stays apart: folded into the bias, a feature whose mean is far above its
    standard deviation would lose digits.
    """

    centre: th.Tensor
    affines: list[Affine]
    activations: list[nn.Module]


def refuse_hooks(module: nn.Module) -> None:
    """Refuse hooks around a forward, and forwards of a module's own: no file carries them, no weight shows them."""
    for name, part in module.named_modules():
        if part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part):
            raise UnsupportedError(
                f"{name or 'The network'} ({type(part).__name__}) has forward hooks, or a forward of its own, which no "
                "exported file can carry. Remove them (handle.remove, th.nn.utils.prune.remove, remove_weight_norm, "
                "remove_spectral_norm); parametrizations of th.nn.utils.parametrizations can stay in ONNX and "
                "TorchScript files."
            )


def check_sequence(net: nn.Module) -> None:
    """Refuse a module with a forward of its own."""
    if type(net) not in (nn.Sequential, RenormMLP):
        raise UnsupportedError(f"A {type(net).__name__} cannot be exported: it has to be an nn.Sequential.")


def fold_layers(net: nn.Sequential) -> FoldedLayers:
    """
    Fold the BatchRenorm layers of ``networks.renorm_mlp`` into the Linear layers that follow them.

    Parametrized layers have the weights that they compute. Other layers or another order are an UnsupportedError that
    names the first.
    """
    check_sequence(net)
    refuse_hooks(net)
    affines: list[Affine] = []
    activations: list[nn.Module] = []
    centre: th.Tensor | None = None
    norm: BatchRenorm | None = None
    layer: Any
    for layer in net:
        kind = type_before_parametrizations(layer)
        if kind is BatchRenorm:
            norm = layer
        elif kind is nn.Linear and len(activations) == len(affines):
            mean, affine = _fold(norm, layer)
            if centre is None:
                centre = mean
            else:
                affine = Affine(affine.weight, affine.bias - affine.weight @ mean)
            affines.append(affine)
            norm = None
        elif kind in ACTIVATIONS.values() and norm is None and len(activations) == len(affines) - 1:
            activations.append(layer)
        else:
            raise UnsupportedError(
                f"A network with {layer} at this place cannot be exported: it has to be BatchRenorm (or nothing), "
                f"Linear and activation in turns, and a Linear at the end; activations: {', '.join(ACTIVATIONS)}."
            )
    if centre is None or len(activations) != len(affines) - 1:
        raise UnsupportedError("A network that does not end with a Linear layer cannot be exported.")
    return FoldedLayers(centre, affines, activations)


def _fold(norm: BatchRenorm | None, linear: nn.Linear) -> tuple[th.Tensor, Affine]:
    """Mean to subtract from the input, and the affine layer behind that."""
    weight = linear.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.detach().double()
    if norm is None:
        return weight.new_zeros(weight.shape[1]), Affine(weight, bias)
    scale = norm.scale.detach().double() * (norm.running_var.double() + norm.eps).rsqrt()
    return norm.running_mean.double(), Affine(weight * scale, bias + weight @ norm.bias.detach().double())


class ExportedMLP(nn.Module):
    """
    A folded network whose first layer is split into the half of the state and that of the other inputs.

    :param net: See :func:`fold_layers`.
    :param n_features: Columns of the input that are features of the state; the others follow them. None for all.
    :param rows: Outputs to keep.
    :param output_scale: Factor on the outputs.
    :raises UnsupportedError: See :func:`fold_layers`.
    """

    centre: th.Tensor
    input_weight: th.Tensor

    def __init__(
        self, net: nn.Sequential, n_features: int | None = None, rows: slice = slice(None), output_scale: float = 1.0
    ):
        super().__init__()
        centre, affines, activations = fold_layers(net)
        last = affines[-1]
        affines[-1] = Affine(output_scale * last.weight[rows], output_scale * last.bias[rows])
        weight, bias = affines[0]
        n_features = weight.shape[1] if n_features is None else n_features
        bias = bias - weight[:, n_features:] @ centre[n_features:]
        self.register_buffer("centre", centre[:n_features].float())
        self.register_buffer("input_weight", weight[:, n_features:].float())
        self.first = _linear(Affine(weight[:, :n_features], bias))
        self.layers = nn.ModuleList(_linear(affine) for affine in affines[1:])
        self.activations = nn.ModuleList(activations)

    def forward(self, features: th.Tensor) -> th.Tensor:
        """Output (B, outputs) of a network on features (B, n_features) alone."""
        return self.propagate(self.hoist(features))

    def hoist(self, features: th.Tensor) -> th.Tensor:
        """The first layer's part that depends on the state alone, with the bias."""
        return self.first(features - self.centre)

    def propagate(self, z: th.Tensor) -> th.Tensor:
        """Output of the network from its first layer's pre-activation."""
        for activation, layer in zip(self.activations, self.layers, strict=True):
            z = layer(activation(z))
        return z

    # --- The same as ONNX nodes, from and to the names of values ---

    def write(self, graph: "Graph", features: str) -> str:
        """As ``forward``."""
        return self.write_propagate(graph, self.write_hoist(graph, features), self.write_layers(graph))

    def write_hoist(self, graph: "Graph", features: str) -> str:
        """As :meth:`hoist`."""
        centred = graph.add("Sub", features, graph.constant(self.centre))
        return graph.add("Gemm", centred, *_constants(graph, self.first))

    def write_layers(self, graph: "Graph") -> list[tuple[str, str]]:
        """Weights and biases of all layers but the first, for any number of :meth:`write_propagate`."""
        return [_constants(graph, layer) for layer in self.layers]

    def write_propagate(self, graph: "Graph", z: str, layers: list[tuple[str, str]]) -> str:
        """As :meth:`propagate`, with what :meth:`write_layers` gave."""
        for activation, layer in zip(self.activations, layers, strict=True):
            z = graph.add("Gemm", write_activation(graph, activation, z), *layer)
        return z


def _linear(affine: Affine) -> nn.Linear:
    outputs, inputs = affine.weight.shape
    layer = nn.Linear(inputs, outputs, dtype=th.float32)
    layer.load_state_dict(affine._asdict())
    return layer


def _constants(graph: "Graph", layer: Any) -> tuple[str, str]:
    """Weights (inputs, outputs), the layout that a single row multiplies fastest, and biases."""
    return graph.constant(layer.weight.t()), graph.constant(layer.bias)


def _gelu(graph: "Graph", activation: Any, z: str) -> str:
    if activation.approximate != "none":
        raise UnsupportedError(f"{activation} cannot be exported to ONNX: use the exact GELU.")
    erf = graph.add("Erf", graph.add("Mul", z, graph.constant(np.float32(math.sqrt(0.5)))))
    half = graph.add("Mul", z, graph.constant(np.float32(0.5)))
    return graph.add("Mul", half, graph.add("Add", erf, graph.constant(np.float32(1.0))))


_ONNX_ACTIVATIONS: dict[str, Callable[["Graph", Any, str], str]] = {
    "ReLU": lambda graph, _, z: graph.add("Relu", z),
    "LeakyReLU": lambda graph, layer, z: graph.add("LeakyRelu", z, alpha=layer.negative_slope),
    "ELU": lambda graph, layer, z: graph.add("Elu", z, alpha=layer.alpha),
    "SELU": lambda graph, _, z: graph.add("Selu", z),
    "GELU": _gelu,
    "SiLU": lambda graph, _, z: graph.add("Mul", z, graph.add("Sigmoid", z)),
    # An operator of its own from opset 18 on.
    "Mish": lambda graph, _, z: graph.add("Mul", z, graph.add("Tanh", graph.add("Softplus", z))),
    "Sigmoid": lambda graph, _, z: graph.add("Sigmoid", z),
    "Tanh": lambda graph, _, z: graph.add("Tanh", z),
}


def write_activation(graph: "Graph", layer: nn.Module, z: str) -> str:
    """An activation as ONNX nodes; an UnsupportedError for one that is not in ``ACTIVATIONS``."""
    kind = type(layer)
    if ACTIVATIONS.get(kind.__name__) is not kind:
        raise UnsupportedError(f"{layer} cannot be exported: known activations are {', '.join(ACTIVATIONS)}.")
    return _ONNX_ACTIVATIONS[kind.__name__](graph, layer, z)

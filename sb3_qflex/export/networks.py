"""Eval-mode networks as plain affine layers, with every BatchRenorm folded in double precision."""

from typing import NamedTuple

import torch as th
from torch import nn

from sb3_qflex.common.batch_renorm import BatchRenorm
from sb3_qflex.common.fast.folding import Affine
from sb3_qflex.common.validation import UnsupportedError

#: Activations that every export format knows, by the name that the policy file has for them.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    cls.__name__: cls for cls in (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh)
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


def fold_layers(net: nn.Sequential) -> FoldedLayers:
    """
    Fold the BatchRenorm layers of ``networks.renorm_mlp`` into the Linear layers that follow them.

    :param net: BatchRenorm (or nothing), Linear, activation, ..., Linear.
    :raises UnsupportedError: For other layers or another order, naming the first.
    """
    affines: list[Affine] = []
    activations: list[nn.Module] = []
    centre, norm = None, None
    for layer in net:
        if isinstance(layer, BatchRenorm):
            norm = layer
        elif type(layer) is nn.Linear and len(activations) == len(affines):
            mean, affine = _fold(norm, layer)
            if centre is None:
                centre = mean
            else:
                affine = Affine(affine.weight, affine.bias - affine.weight @ mean)
            affines.append(affine)
            norm = None
        elif type(layer) in ACTIVATIONS.values() and norm is None and len(activations) == len(affines) - 1:
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
    weight, bias = linear.weight.detach().double(), linear.bias.detach().double()
    if norm is None:
        return weight.new_zeros(weight.shape[1]), Affine(weight, bias)
    scale = norm.scale.detach().double() * (norm.running_var.double() + norm.eps).rsqrt()
    return norm.running_mean.double(), Affine(weight * scale, bias + weight @ norm.bias.detach().double())


class ExportedMLP(nn.Module):
    """
    A folded network whose first layer is split into the half of the state and that of the other inputs.

    :param net: See :func:`fold_layers`.
    :param n_features: Columns of the input that are features of the state; the others follow them.
    :param rows: Outputs to keep.
    :param output_scale: Factor on the outputs.
    :raises UnsupportedError: See :func:`fold_layers`.
    """

    centre: th.Tensor
    input_weight: th.Tensor

    def __init__(self, net: nn.Sequential, n_features: int, rows: slice = slice(None), output_scale: float = 1.0):
        super().__init__()
        centre, affines, activations = fold_layers(net)
        last = affines[-1]
        affines[-1] = Affine(output_scale * last.weight[rows], output_scale * last.bias[rows])
        weight, bias = affines[0]
        bias = bias - weight[:, n_features:] @ centre[n_features:]
        self.register_buffer("centre", centre[:n_features].float())
        self.register_buffer("input_weight", weight[:, n_features:].float())
        self.first = _linear(Affine(weight[:, :n_features], bias))
        self.layers = nn.ModuleList(_linear(affine) for affine in affines[1:])
        self.activations = nn.ModuleList(activations)

    def hoist(self, features: th.Tensor) -> th.Tensor:
        """
        The first layer's part that depends on the state alone, with the bias.

        :param features: Shape (B, n_features).
        :return: Shape (B, width of the first layer).
        """
        return self.first(features - self.centre)

    def propagate(self, z: th.Tensor) -> th.Tensor:
        """
        Output of the network from its first layer's pre-activation.

        :param z: Shape (B, width of the first layer).
        :return: Shape (B, outputs).
        """
        for activation, layer in zip(self.activations, self.layers, strict=True):
            z = layer(activation(z))
        return z


def _linear(affine: Affine) -> nn.Linear:
    outputs, inputs = affine.weight.shape
    layer = nn.Linear(inputs, outputs)
    layer.weight = nn.Parameter(affine.weight.float(), requires_grad=False)
    layer.bias = nn.Parameter(affine.bias.float(), requires_grad=False)
    return layer

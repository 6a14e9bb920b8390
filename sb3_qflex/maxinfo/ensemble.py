"""An ensemble of networks as one, and running statistics as buffers."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch as th
from torch import nn

from sb3_qflex.maxinfo.objectives import variance


class Ensemble(nn.Module):
    """
    Networks of equal shape on the same input, each layer of all of them one batched matrix product.

    Weights start as those of ``nn.Linear``, independently for each head.

    :param n_heads: Number of networks.
    :param input_dim: Columns of the input.
    :param output_dim: Columns of the output.
    :param net_arch: Hidden layers.
    :param activation_fn: Activation function.
    """

    def __init__(
        self, n_heads: int, input_dim: int, output_dim: int, net_arch: Sequence[int], activation_fn: type[nn.Module]
    ):
        super().__init__()
        widths = [input_dim, *net_arch, output_dim]
        shapes = list(pairwise(widths))
        self.weights = nn.ParameterList(th.empty(n_heads, *shape) for shape in shapes)
        self.biases = nn.ParameterList(th.empty(n_heads, 1, outputs) for _, outputs in shapes)
        self.activation = activation_fn()
        for (inputs, _), *parameters in zip(shapes, self.weights, self.biases, strict=True):
            for parameter in parameters:
                nn.init.uniform_(parameter, -1.0 / math.sqrt(inputs), 1.0 / math.sqrt(inputs))

    def forward(self, x: th.Tensor) -> th.Tensor:
        """
        :param x: Shape (B, inputs).
        :return: Shape (heads, B, outputs).
        """
        z = x.expand(len(self.weights[0]), -1, -1)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = th.baddbmm(bias, z if index == 0 else self.activation(z), weight)
        return z


class RunningNormalizer(nn.Module):
    """
    Mean and population standard deviation of all that was seen, as buffers that are saved with a model.

    :param shape: Of one value; () for a number.
    :param floor: Smallest standard deviation that is divided by.
    :param cap: Largest count: beyond it old values fade. None for none.
    """

    mean: th.Tensor
    var: th.Tensor
    count: th.Tensor

    def __init__(self, shape: tuple[int, ...], floor: float = 1e-3, cap: float | None = None):
        super().__init__()
        self.floor = floor
        self.cap = cap
        self.register_buffer("mean", th.zeros(shape))
        self.register_buffer("var", th.ones(shape))
        self.register_buffer("count", th.zeros(()))

    @th.no_grad()
    def update(self, values: th.Tensor) -> None:
        """
        Take in a batch; one with a number that is not finite leaves everything as it was.

        :param values: Shape (B, ...) with the shape of one value.
        """
        n = len(values)
        total = self.count + n
        delta = values.mean(dim=0) - self.mean
        mean = self.mean + delta * (n / total)
        squares = self.var * self.count + variance(values) * n
        var = squares / total + delta.square() * (self.count * n / total.square())
        finite = th.isfinite(var).all()
        self.mean.copy_(th.where(finite, mean, self.mean))
        self.var.copy_(th.where(finite, var, self.var))
        self.count.copy_(th.where(finite, total if self.cap is None else total.clamp(max=self.cap), self.count))

    def forward(self, values: th.Tensor) -> th.Tensor:
        """
        :param values: Shape (B, ...) with the shape of one value.
        :return: (values - mean) / std.
        """
        return (values - self.mean) / self.var.sqrt().clamp(min=self.floor)

"""A linear layer whose products, forward and backward, take the route that is fastest on this processor."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch as th
from torch import nn
from torch.autograd.function import once_differentiable

from sb3_qflex.common.fast.plain import is_watched
from sb3_qflex.common.fast.products import linear


class _Product(th.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: th.Tensor, weight: th.Tensor, bias: th.Tensor) -> th.Tensor:
        ctx.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias = ctx.needs_input_grad
        return (
            linear(gradient, weight.t()) if by_x else None,
            linear(gradient.t(), x.t()) if by_weight else None,
            gradient.sum(dim=0) if by_bias else None,
        )


class Linear(nn.Linear):
    """``nn.Linear`` on rows, (B, inputs), with the same result up to rounding; see :mod:`products`."""

    def forward(self, x: th.Tensor) -> th.Tensor:
        """
        :param x: Shape (B, inputs).
        :return: Shape (B, outputs).
        """
        if is_watched() or x.dim() != 2:
            return super().forward(x)
        return _Product.apply(x, self.weight, self.bias)


@contextmanager
def constant(network: nn.Module) -> Iterator[None]:
    """
    Inside the ``with`` the network's parameters are constants: a loss that runs through it to another network's
    computes no gradient of its weights, which is a third of the pass.

    :param network: The network.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)

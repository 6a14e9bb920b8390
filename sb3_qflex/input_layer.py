"""
BatchRenorm and the Linear behind it as one operation, for inputs that are constants.

By automatic differentiation the gradient of BatchRenorm's scale and bias goes through the gradient of its output, a
matrix product as large as the layer's own. Both follow from what the Linear's gradient needs anyway: with the
normalised input X, G = dZ^T X and s = sum_b dZ_b, the gradients are

    weight: G diag(scale) + s shift^T,    scale: sum_h (G * weight)_h,    shift: weight^T s,    bias: s.
"""

from typing import Any

import torch as th
from torch.autograd.function import once_differentiable


class ScaledLinear(th.autograd.Function):
    """(x * scale + shift) weight^T + bias, without a gradient to x."""

    @staticmethod
    def forward(
        ctx: Any, x: th.Tensor, scale: th.Tensor, shift: th.Tensor, weight: th.Tensor, bias: th.Tensor
    ) -> th.Tensor:
        """
        :param ctx: What backward needs.
        :param x: Shape (B, inputs), a constant.
        :param scale: Shape (inputs,).
        :param shift: Shape (inputs,).
        :param weight: Shape (outputs, inputs).
        :param bias: Shape (outputs,).
        :return: Shape (B, outputs).
        """
        ctx.save_for_backward(x, scale, shift, weight)
        return th.addmm(th.addmv(bias, weight, shift), x, (weight * scale).t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor | None, ...]:
        x, scale, shift, weight = ctx.saved_tensors
        by_product, by_bias = gradient.t() @ x, gradient.sum(dim=0)
        by_scale, by_shift = (by_product * weight).sum(dim=0), by_bias @ weight
        return None, by_scale, by_shift, th.addr(by_product.mul_(scale), by_bias, shift), by_bias

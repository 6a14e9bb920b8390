"""
A train-mode pass through a whole ``networks.renorm_mlp`` as one operation, for inputs that are constants.

Layer by layer, automatic differentiation writes out every normalised activation and its gradient. Neither is needed.
With the centred input c of a layer (batch, n), its inverse standard deviation rho, and the BatchRenorm's alpha = scale
r and beta = scale d + shift (r, d constants), BatchRenorm and Linear together are

    z = c V^T + (b + W beta),    V = W diag(alpha rho),

and from dz follow, with s = sum_b dz_b and P = dz^T c (the product that the gradient of W needs anyway),

    d alpha = rho sum_h (P * W)_h,    d beta = W^T s,    dW = P diag(alpha rho) + s beta^T,    db = s,
    dx = dz V - (alpha rho d beta + c alpha rho^2 d alpha) / batch,

the last one for the layers behind the first. ``nn.Sequential.forward`` of the same network is the readable definition.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch as th
from torch.autograd.function import once_differentiable

from sb3_qflex.common.batch_renorm import BatchRenorm
from sb3_qflex.common.fast.products import linear


class _Layer(NamedTuple):
    """What the backward pass of a BatchRenorm and its Linear needs; x is the ReLU output in front of them."""

    x: th.Tensor
    centred: th.Tensor
    inverse_std: th.Tensor
    r: th.Tensor
    d: th.Tensor
    alpha: th.Tensor
    beta: th.Tensor
    weight: th.Tensor
    folded_weight: th.Tensor


def _groups(tensors: Sequence[th.Tensor], size: int) -> Iterator[tuple[th.Tensor, ...]]:
    return zip(*[iter(tensors)] * size, strict=True)


class TrainingPass(th.autograd.Function):
    """Output of BatchRenorm, Linear, ReLU, ..., Linear in train mode, without a gradient to its input."""

    @staticmethod
    def forward(ctx: Any, x: th.Tensor, norms: Sequence[BatchRenorm], *parameters: th.Tensor) -> th.Tensor:
        """
        :param ctx: What backward needs.
        :param x: Shape (B, inputs), a constant.
        :param norms: The BatchRenorm layers, whose averages are updated.
        :param parameters: Scale and shift of the BatchRenorm, weight and bias of the Linear, for each layer.
        :return: Shape (B, outputs).
        """
        saved: list[th.Tensor] = []
        for norm, (scale, shift, weight, bias) in zip(norms, _groups(parameters, 4), strict=True):
            if saved:
                x = x.relu_()
            centred, inverse_std, r, d = norm.measure(x)
            alpha, beta = scale * r, th.addcmul(shift, scale, d)
            folded_weight = weight * (alpha * inverse_std)
            saved += _Layer(x, centred, inverse_std, r, d, alpha, beta, weight, folded_weight)
            x = linear(centred, folded_weight, th.addmv(bias, weight, beta))
        ctx.save_for_backward(*saved)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: th.Tensor) -> tuple[th.Tensor | None, ...]:
        layers = [_Layer(*tensors) for tensors in _groups(ctx.saved_tensors, len(_Layer._fields))]
        gradients: list[th.Tensor] = []
        for number, layer in reversed(list(enumerate(layers))):
            by_bias = gradient.sum(dim=0)
            product = linear(gradient.t(), layer.centred.t())
            by_alpha = (product * layer.weight).sum(dim=0).mul_(layer.inverse_std)
            by_beta = by_bias @ layer.weight
            by_scale = th.addcmul(by_alpha * layer.r, by_beta, layer.d)
            by_weight = product.mul_(layer.alpha * layer.inverse_std).addr_(by_bias, layer.beta)
            gradients[:0] = by_scale, by_beta, by_weight, by_bias
            if number > 0:
                gradient = _through_norm(layer, gradient, by_alpha, by_beta)
        return None, None, *gradients


def _through_norm(layer: _Layer, gradient: th.Tensor, by_alpha: th.Tensor, by_beta: th.Tensor) -> th.Tensor:
    """Gradient by the pre-activation in front of a BatchRenorm and its Linear, (B, width)."""
    factor = layer.alpha * layer.inverse_std / -len(gradient)
    by_input = linear(gradient, layer.folded_weight.t(), factor * by_beta)
    by_input.addcmul_(layer.centred, factor * layer.inverse_std * by_alpha)
    return th.ops.aten.threshold_backward(by_input, layer.x, 0)

"""
Passes of Mish or ReLU networks with gradients, for chains of many steps that are differentiated as a whole.

From the first layer's pre-activation on, a network is one operation: slopes of the activations are computed along with
their values, and products take the route that is fastest, which torch's own backward does not. The state's half of the
first layer and that of the time are computed once for all steps. Results equal those of ``NoisePredictor.at`` up to
rounding.
"""

from typing import Any

import torch as th
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sb3_qflex.common.diffusion import NoiseAt
from sb3_qflex.common.fast.products import linear

#: Beyond this, x and Mish of x are one number, and the square of e^x still is a float32.
_LINEAR_FROM = 20.0


def _relu(x: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    return x.relu(), (x > 0).to(x.dtype)


def mish(x: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """
    x - 2 x r with r = 1 / ((1 + e^x)^2 + 1), and its slope 1 - 2 r + 4 x e^x (1 + e^x) r^2.

    :param x: Anything.
    :return: Two tensors of its shape.
    """
    e = x.clamp(max=_LINEAR_FROM).exp_()
    r = (e + 1.0).square_().add_(1.0).reciprocal_()
    slope = th.addcmul(e, e, e).mul_(x).mul_(r).mul_(2.0).sub_(1.0).mul_(r).mul_(2.0).add_(1.0)
    return th.addcmul(x, x, r, value=-2.0), slope


class _Layers(th.autograd.Function):
    """activation, Linear, ..., activation, Linear from a pre-activation (B, width); weights and biases follow it."""

    @staticmethod
    def forward(ctx: Any, z: th.Tensor, activation: Any, *parameters: th.Tensor) -> th.Tensor:
        saved = []
        for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
            value, slope = activation(z)
            saved += [value, slope]
            z = linear(value, weight, bias)
        ctx.save_for_backward(*parameters, *saved)
        ctx.n_parameters = len(parameters)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: th.Tensor) -> tuple[th.Tensor | None, ...]:
        gradient = outputs[0].contiguous()
        parameters, saved = ctx.saved_tensors[: ctx.n_parameters], ctx.saved_tensors[ctx.n_parameters :]
        by_parameters: list[th.Tensor | None] = [None] * len(parameters)
        for i in reversed(range(0, len(parameters), 2)):
            value, slope = saved[i], saved[i + 1]
            if ctx.needs_input_grad[2 + i]:
                by_parameters[i] = linear(gradient.t(), value.t())
            if ctx.needs_input_grad[3 + i]:
                by_parameters[i + 1] = gradient.sum(dim=0)
            gradient = linear(gradient, parameters[i].t()) * slope
        return gradient, None, *by_parameters


def from_first_layer(net: nn.Sequential, z: th.Tensor) -> th.Tensor:
    """
    Output of a network from its first layer's pre-activation, differentiable once.

    :param net: Layers that :func:`~sb3_qflex.common.fast.denoising.is_plain`.
    :param z: Shape (B, width of the first layer).
    :return: Shape (B, outputs).
    """
    layers: list[Any] = list(net)
    activation = _relu if type(layers[1]) is nn.ReLU else mish
    parameters = [parameter for layer in layers[2::2] for parameter in (layer.weight, layer.bias)]
    return _Layers.apply(z, activation, *parameters)


def whole_pass(net: nn.Sequential, x: th.Tensor) -> th.Tensor:
    """
    A network as :func:`from_first_layer` has it, from its input.

    :param net: Layers that :func:`~sb3_qflex.common.fast.denoising.is_plain`.
    :param x: Shape (B, inputs).
    :return: Shape (B, outputs).
    """
    first: Any = net[0]
    return from_first_layer(net, F.linear(x, first.weight, first.bias))


def trained_noise(net: nn.Sequential, features: th.Tensor, times: th.Tensor) -> NoiseAt:
    """
    The fast form of ``NoisePredictor.at`` for one row a state, with gradients to all that it is made of.

    :param net: The noise predictor's layers, that :func:`~sb3_qflex.common.fast.denoising.is_plain`; their inputs are
        state, action and time.
    :param features: Shape (B, features_dim).
    :param times: Embedding of the steps 0 ... T - 1, shape (T, E).
    """
    first: Any = net[0]
    n_actions = first.in_features - features.shape[1] - times.shape[1]
    of_state, of_action, of_time = first.weight.split([features.shape[1], n_actions, times.shape[1]], dim=1)
    hoisted, table = F.linear(features, of_state, first.bias), F.linear(times, of_time)
    of_action = of_action.t()
    return lambda x, t: from_first_layer(net, th.addmm(hoisted + table[t], x, of_action))

"""
Many particles through Mish or ReLU networks on a CPU, without gradients.

The state's half of the first layer is computed once for all steps and particles of a state, its half of the time is a
table. Activations are computed in place, on as many rows at a time as the caches hold. Results equal those of
``NoisePredictor.at`` and ``Critics.q_values`` up to rounding.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch as th
from torch import nn

from sb3_qflex.common.diffusion import NoiseAt
from sb3_qflex.common.fast.plain import CHAINS, is_watched, obstacle
from sb3_qflex.common.fast.products import linear

_LOG2_E = 1.0 / math.log(2.0)
#: Rows of a block: a layer of 256 units then takes a megabyte.
BLOCK_ROWS = 1024


def scaled_mish_(z: th.Tensor, scratch: th.Tensor) -> th.Tensor:
    """
    From c x to c mish(x), with c = log2(e), since powers of two take a quarter of the time of ``th.exp``:
    x tanh(softplus(x)) = x - x / (1 + g), g = e^x + e^(2x) / 2, which is exact also where g overflows.

    :param z: c x, overwritten.
    :param scratch: Of the same shape, overwritten.
    :return: z.
    """
    th.special.exp2(z, out=scratch)
    scratch.addcmul_(scratch, scratch, value=0.5).add_(1.0)
    return z.addcdiv_(z, scratch, value=-1.0)


def has_fast_form(net: nn.Module, network: nn.Module) -> bool:
    """
    Whether a network can be computed from its weights alone: Linear, Mish or ReLU, ..., Linear, without hooks, and
    with gradients off.

    :param net: The layers.
    :param network: The module that has them.
    """
    return not (th.is_grad_enabled() or network.training) and is_plain(net, network)


def is_plain(net: nn.Module, network: nn.Module) -> bool:
    """
    The same, but for gradients, which may be on.

    :param net: The layers.
    :param network: The module that has them.
    """
    if is_watched() or type(net) not in CHAINS:
        return False
    layers = list(net.children())
    kinds = [type(layer) for layer in layers]
    plain = len(kinds) % 2 == 1 and all(kind is nn.Linear for kind in kinds[::2])
    between = kinds[1::2]
    if not (plain and between and len(set(between)) == 1 and between[0] in (nn.Mish, nn.ReLU)):
        return False
    # Activations have nothing but possible hooks.
    return not obstacle(layers[::2], (network, net, *layers[1::2]))


class HoistedMLP:
    """
    A network that :func:`has_fast_form`, at its weights of this moment.

    :param net: The layers.
    :param n_features: Columns of the input that are features of the state; the others follow them.
    :param dtype: Number type of the products behind the state's half; by default that of the network, which everything
        else has.
    """

    def __init__(self, net: nn.Sequential, n_features: int, dtype: th.dtype | None = None):
        linears: list[Any] = list(net)[::2]
        first, *others = linears
        self.relu = type(net[1]) is nn.ReLU
        # With Mish, everything between the first product and the last one is log2(e) times what it is.
        scale = 1.0 if self.relu else _LOG2_E
        self.feature_weight = scale * first.weight.detach()[:, :n_features]
        self.input_weight = scale * first.weight.detach()[:, n_features:]
        self.bias = scale * first.bias.detach()
        layers = [(layer.weight.detach(), scale * layer.bias.detach()) for layer in others[:-1]]
        layers.append((others[-1].weight.detach() / scale, others[-1].bias.detach()))
        self.dtype = dtype or self.bias.dtype
        self.layers = [(weight.to(self.dtype), bias.to(self.dtype)) for weight, bias in layers]

    def hoist(self, features: th.Tensor) -> th.Tensor:
        """
        The first layer's part of the state, with the bias.

        :param features: Shape (B, n_features).
        :return: Shape (B, width).
        """
        return linear(features, self.feature_weight, self.bias)

    def propagate(self, z: th.Tensor) -> th.Tensor:
        """
        Output of the network from its first layer's pre-activation.

        :param z: Shape (R, width), of the network's number type, overwritten.
        :return: Shape (R, outputs), likewise.
        """
        *hidden, last = self.layers
        if self.relu:
            z.relu_()
            for weight, bias in hidden:
                z = linear(z, weight, bias, relu=True)
            return linear(z, *last).to(self.bias.dtype)
        scratch = th.empty_like(z)
        scaled_mish_(z, scratch)
        for weight, bias in hidden:
            # Powers in bfloat16 take longer than those of float32 with both conversions.
            z = linear(z, weight, bias).to(self.bias.dtype)
            if scratch.shape != z.shape:
                scratch = th.empty_like(z)
            scaled_mish_(z, scratch)
        return linear(z, *last).to(self.bias.dtype)


def _add_states(z: th.Tensor, hoisted: th.Tensor) -> th.Tensor:
    """Add the states' parts (B, width) to the rows of their particles, (B N, width), in place."""
    z.view(len(hoisted), -1, z.shape[1]).add_(hoisted.unsqueeze(1))
    return z


def hoisted_noise(
    layers: nn.Sequential, features: th.Tensor, times: th.Tensor, dtype: th.dtype | None = None
) -> NoiseAt:
    """
    The fast form of ``NoisePredictor.at``.

    :param layers: The noise predictor's, which :func:`has_fast_form`; their inputs are state, action and time.
    :param features: Shape (B, features_dim).
    :param times: Embedding of the steps 0 ... T - 1, shape (T, E); E can be 0.
    :param dtype: Number type of the products of each step; by default that of the network, which everything else has.
    """
    net = HoistedMLP(layers, features.shape[1], dtype)
    n_actions = net.input_weight.shape[1] - times.shape[1]
    action_weight = net.input_weight[:, :n_actions].contiguous().to(net.dtype)
    biases = (times @ net.input_weight[:, n_actions:].t()).to(net.dtype)
    hoisted = net.hoist(features)

    def eps_hat(x: th.Tensor, t: int) -> th.Tensor:
        of_actions = linear(x, action_weight, biases[t]).to(hoisted.dtype)
        return net.propagate(_add_states(of_actions, hoisted))

    return eps_hat


def hoisted_values(nets: list[nn.Sequential], features: th.Tensor, actions: th.Tensor) -> th.Tensor:
    """
    The smallest of several critics for particles; the fast form of ``smallest`` of ``Critics.q_values``.

    :param nets: The critics' layers, which :func:`has_fast_form`.
    :param features: Shape (B, features_dim).
    :param actions: Shape (B, N, |A|).
    :return: Shape (B, N).
    """
    values: th.Tensor | None = None
    for layers in nets:
        net = HoistedMLP(layers, features.shape[1])
        z = _add_states(linear(actions.flatten(0, 1), net.input_weight), net.hoist(features))
        q = net.propagate(z).view(actions.shape[:2])
        values = q if values is None else th.minimum(values, q)
    assert values is not None
    return values


def blocks(n_states: int, n_particles: int) -> Iterator[slice]:
    """
    Slices of states, so that with their particles they are at most :data:`BLOCK_ROWS` rows (or one state).

    :param n_states: B.
    :param n_particles: N.
    """
    size = max(1, BLOCK_ROWS // n_particles)
    return (slice(start, start + size) for start in range(0, n_states, size))

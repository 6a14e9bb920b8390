"""
Acting on one observation on a CPU: eval-mode networks in NumPy, read where their parameters lie.

For one row, what an operation of torch costs besides its arithmetic is several times the arithmetic; NumPy's costs a
fraction of it. Nothing of a network is kept but views of its memory, so it acts with the weights of the moment, whoever
changed them and however. Of a flow's network the first and the last layer, which are small, are folded at each call.
"""

from typing import Any

import numpy as np
import torch as th
from torch import nn

from sb3_qflex.common.batch_renorm import BatchRenorm
from sb3_qflex.common.fast.folding import blocks


class _Layer:
    """
    A Linear with the BatchRenorm before it, as views of their memory.

    :param norm: None for none.
    :param linear: The layer.
    """

    def __init__(self, norm: BatchRenorm | None, linear: Any):
        self.weight, self.bias = _view(linear.weight), _view(linear.bias)
        # Without a norm, that of a standard normal distribution.
        zeros = np.zeros_like(self.weight[0])
        self._norm: tuple[np.ndarray, ...] = (zeros, zeros + 1.0, zeros + 1.0, zeros)
        self._eps = self.weight.dtype.type(0.0)
        if norm is not None:
            self._norm = tuple(map(_view, (norm.running_mean, norm.running_var, norm.scale, norm.bias)))
            self._eps = self.weight.dtype.type(norm.eps)

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale and shift of the normalisation in eval mode, (inputs,)."""
        mean, var, scale, shift = self._norm
        factor = scale / np.sqrt(var + self._eps)
        return factor, shift - mean * factor

    def normalise(self, x: np.ndarray) -> np.ndarray:
        """
        :param x: The first inputs of the layer, at most all of them, (n,); for features whose mean is far above their
            standard deviation the difference comes first, or digits would be lost.
        """
        mean, var, scale, shift = (part[: len(x)] for part in self._norm)
        return (x - mean) * (scale / np.sqrt(var + self._eps)) + shift


def _view(tensor: th.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


class SingleRow:
    """
    A ``networks.renorm_mlp`` with ReLU, for one row of inputs.

    :param net: The network: plain layers, contiguous, on the CPU.
    :raises NotFoldableError: For other layers, or in another order.
    """

    def __init__(self, net: nn.Sequential):
        self._layers = [_Layer(norm, linear) for norm, linear in zip(*blocks(net), strict=True)]

    def propagate(self, features: th.Tensor) -> th.Tensor:
        """
        Output of a network without inputs besides the features.

        :param features: Shape (1, F).
        :return: Shape (1, output).
        """
        first, *others = self._layers
        z = first.weight @ first.normalise(features.numpy()[0]) + first.bias
        for layer in others:
            z = layer.weight @ layer.normalise(np.maximum(z, 0.0, out=z)) + layer.bias
        return th.from_numpy(z[None])

    def integrate(self, features: th.Tensor, source_actions: th.Tensor, n_steps: int) -> th.Tensor:
        """
        ``flow.integrate`` of a field, whose inputs after the features are the action and t, from one source action.

        :param features: Shape (1, F).
        :param source_actions: a(0), shape (1, |A|).
        :param n_steps: K, at least 1.
        :return: The end of the flow, shape (1, |A|), not clamped to the box.
        """
        dt = 1.0 / n_steps
        hidden, displacement = self._chain(features.numpy()[0], dt)
        inputs = hidden[0][0]
        action, one = inputs[:-2], np.ones_like(displacement[0])
        action[...] = source_actions.numpy()[0]
        zero, minus_one = np.zeros_like(one), -one
        for k in range(1, n_steps + 1):
            inputs[-2] = k * dt
            for x, weight, scale, bias, z in hidden:
                np.dot(weight, x, out=z)
                if bias is not None:
                    z += bias
                if scale is not None:
                    # Arrays: a Python number would be converted each time.
                    np.maximum(z, zero, out=z)
                    z *= scale
            np.maximum(displacement, minus_one, out=displacement)
            np.minimum(displacement, one, out=displacement)
            action += displacement
        return th.from_numpy(action[None].copy())

    def _chain(self, features: np.ndarray, dt: float) -> tuple[list[tuple[Any, ...]], np.ndarray]:
        """
        Steps of one evaluation at given states, and where its result, the velocity times dt, appears.

        Each step is (inputs, weight, scale of what follows, bias, output); the output of one is the input of the next.
        The inputs of the first are the action, t and 1.
        """
        n = len(features)
        first, *others = self._layers
        own = slice(n, None)
        factors, shifts = (part[own] for part in first.affine())
        weight = np.empty((len(first.bias), len(factors) + 1), first.weight.dtype)
        np.multiply(first.weight[:, own], factors, out=weight[:, :-1])
        # The state's part of the first layer is the weight of the input that is 1.
        weight[:, -1] = first.weight[:, :n] @ first.normalise(features) + first.weight[:, own] @ shifts + first.bias
        x = np.ones(weight.shape[1], weight.dtype)
        steps: list[tuple[Any, ...]] = []
        bias = None
        for layer in others:
            factor, shift = layer.affine()
            z = np.empty(len(weight), weight.dtype)
            steps.append((x, weight, factor, bias, z))
            x, weight, bias = z, layer.weight, layer.bias + layer.weight @ shift
        displacement = np.empty(len(weight), weight.dtype)
        steps.append((x, dt * weight, None, None if bias is None else dt * bias, displacement))
        return steps, displacement


def is_single(features: th.Tensor) -> bool:
    """
    Whether a :class:`SingleRow` can take them.

    :param features: Shape (B, F).
    """
    return features.shape[0] == 1 and features.device.type == "cpu" and features.dtype in (th.float32, th.float64)

"""
Acting on one observation on a CPU: folded networks as vector-matrix products of NumPy.

For one row, what an operation of torch costs besides its arithmetic is several times the arithmetic; NumPy's costs a
fraction of it. A bias is the last row of its weight, behind inputs that end with 1: one operation less for each layer.
"""

import threading
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch as th

from sb3_qflex.common.fast.folding import FoldedMLP


class _Layer(NamedTuple):
    """output = inputs @ weight; inputs (in + 1,) that end with 1, weight (in + 1, out), output (out,)."""

    inputs: np.ndarray
    weight: np.ndarray
    output: np.ndarray


class _SingleRow(threading.local):
    """
    A folded network's arrays. Each thread has its own where they are written to, since threads may act at once.

    The arguments are kept for further threads; the folded network is none of them, or it would never be freed.

    :param centre: What is subtracted from features, shape (F,).
    :param feature_weight: Of the features in the first layer, shape (F + 1, width).
    :param input_weight: Of the other inputs in the first layer, shape (inputs - F, width).
    :param weights: Of the other layers, each (in + 1, out).
    """

    def __init__(
        self, centre: np.ndarray, feature_weight: np.ndarray, input_weight: np.ndarray, weights: list[np.ndarray]
    ):
        self._centre, self._feature_weight = centre, feature_weight
        self._features = np.ones(len(feature_weight), feature_weight.dtype)
        # The state's part of the first layer is the bias of the other inputs, in the last row.
        first = np.vstack([input_weight, np.zeros_like(input_weight, shape=(1, input_weight.shape[1]))])
        *own, self._last_weight = [first, *weights]
        self._layers, self._scale = _chain([*own, self._last_weight.copy()]), 1.0
        self._zero = np.zeros_like(self._last_weight[0, 0])
        #: What follows the features in the network's input, shape (inputs - features,): write it before ``propagate``.
        self.inputs = self._layers[0].inputs[:-1]
        #: What ``propagate`` gives, shape (output,).
        self.output = self._layers[-1].output

    def set_state(self, features: th.Tensor, scale: float = 1.0) -> None:
        """
        Choose the state of the next calls of ``propagate``.

        :param features: Shape (1, F).
        :param scale: Factor of the network's output.
        """
        first, last = self._layers[0].weight, self._layers[-1].weight
        if scale != self._scale:
            np.multiply(self._last_weight, scale, out=last)
            self._scale = scale
        np.subtract(features.numpy()[0], self._centre, out=self._features[:-1])
        np.dot(self._features, self._feature_weight, out=first[-1])
        if first is last:
            first[-1] *= scale

    def propagate(self) -> None:
        """Fill ``output`` from ``inputs``; ReLU between layers."""
        *hidden, last = self._layers
        for inputs, weight, output in hidden:
            np.dot(inputs, weight, out=output)
            # An array: a Python number would be converted each time.
            np.maximum(output, self._zero, out=output)
        np.dot(last.inputs, last.weight, out=last.output)


def _chain(weights: list[np.ndarray]) -> list[_Layer]:
    """Layers where the output of each is the input of the next."""
    inputs = [np.ones(len(weight), weight.dtype) for weight in weights]
    last = np.empty(weights[-1].shape[1], weights[-1].dtype)
    outputs = [*(one[:-1] for one in inputs[1:]), last]
    return [_Layer(*one) for one in zip(inputs, weights, outputs, strict=True)]


def _with_bias(weight: th.Tensor, bias: th.Tensor) -> np.ndarray:
    """Shape (in + 1, out)."""
    return th.cat([weight.t(), bias.unsqueeze(0)]).detach().numpy()


def _feature_layer(folded: FoldedMLP) -> tuple[np.ndarray, np.ndarray]:
    """What is subtracted from features, and the weight behind it: folded but for the mean, which would cost digits."""
    weight, bias = folded.feature_layer
    if folded.feature_norm is None:
        return np.zeros(weight.shape[1], weight.numpy().dtype), _with_bias(weight, bias)
    mean, var, scale, shift, _, _, eps = folded.feature_norm
    return mean.numpy(), _with_bias(weight * (scale * (var + eps).rsqrt()), th.addmv(bias, weight, shift))


_single_rows: WeakKeyDictionary[FoldedMLP, _SingleRow] = WeakKeyDictionary()


def _single_row(folded: FoldedMLP) -> _SingleRow:
    row = _single_rows.get(folded)
    if row is None:
        inputs = np.ascontiguousarray(folded.input_weight.numpy().T)
        row = _SingleRow(*_feature_layer(folded), inputs, [_with_bias(*layer) for layer in folded.layers])
        _single_rows[folded] = row
    return row


def is_single(features: th.Tensor) -> bool:
    """
    Whether the functions below apply.

    :param features: Shape (B, F).
    """
    return features.shape[0] == 1 and features.device.type == "cpu" and features.dtype in (th.float32, th.float64)


def propagate_single(folded: FoldedMLP, features: th.Tensor) -> th.Tensor:
    """
    Output of a network without inputs besides the features.

    :param folded: The folded network.
    :param features: Shape (1, F).
    :return: Shape (1, output).
    """
    row = _single_row(folded)
    row.set_state(features)
    row.propagate()
    return th.from_numpy(row.output[None].copy())


def integrate_single(field: FoldedMLP, features: th.Tensor, source_actions: th.Tensor, n_steps: int) -> th.Tensor:
    """
    ``flow.integrate`` of the folded field from one source action.

    :param field: The folded field, whose inputs after the features are the action and t.
    :param features: Shape (1, F).
    :param source_actions: a(0), shape (1, |A|).
    :param n_steps: K, at least 1.
    :return: The end of the flow, shape (1, |A|), not clamped to the box.
    """
    row, dt = _single_row(field), 1.0 / n_steps
    # With this scale the output is the velocity times dt, so that its bound of 1/dt becomes 1.
    row.set_state(features, scale=dt)
    inputs, displacement, propagate = row.inputs, row.output, row.propagate
    action = inputs[:-1]
    action[...] = source_actions.numpy()[0]
    one = np.ones_like(displacement[0])
    minus_one = -one
    for k in range(1, n_steps + 1):
        inputs[-1] = k * dt
        propagate()
        np.maximum(displacement, minus_one, out=displacement)
        np.minimum(displacement, one, out=displacement)
        action += displacement
    return th.from_numpy(action[None].copy())

"""
Acting on one observation on a CPU: folded networks as vector-matrix products of NumPy.

For one row, what an operation of torch costs besides its arithmetic is several times the arithmetic; NumPy's costs a
fraction of it. A bias is the last row of its weight, behind inputs that end with 1: one operation less for each layer.
"""

from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch as th

from sb3_qflex.folding import FoldedMLP


class _Layer(NamedTuple):
    """output = inputs @ weight; inputs (in + 1,) that end with 1, weight (in + 1, out), output (out,)."""

    inputs: np.ndarray
    weight: np.ndarray
    output: np.ndarray


class _SingleRow:
    """
    A folded network's arrays.

    :param folded: The folded network.
    """

    def __init__(self, folded: FoldedMLP):
        self._centre, self._feature_weight = _feature_layer(folded)
        self.input_weight = np.ascontiguousarray(folded.input_weight.numpy().T)
        self.weights = [_with_bias(*layer) for layer in folded.layers]

    def hoist(self, features: th.Tensor) -> np.ndarray:
        """``FoldedMLP.hoist`` of features (1, F), shape (width of the first layer,)."""
        inputs = np.ones(len(self._feature_weight), self._feature_weight.dtype)
        np.subtract(features[0].numpy(), self._centre, out=inputs[:-1])
        return inputs @ self._feature_weight


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
    if folded not in _single_rows:
        _single_rows[folded] = _SingleRow(folded)
    return _single_rows[folded]


def is_single(features: th.Tensor) -> bool:
    """
    Whether the functions below apply.

    :param features: Shape (B, F).
    """
    return features.shape[0] == 1 and features.device.type == "cpu" and features.dtype in (th.float32, th.float64)


def _chain(weights: Sequence[np.ndarray]) -> list[_Layer]:
    """Layers where the output of each is the input of the next; memory of their own, since threads may act at once."""
    inputs = [np.ones(len(weight), weight.dtype) for weight in weights]
    last = np.empty(weights[-1].shape[1], weights[-1].dtype)
    outputs = [*(one[:-1] for one in inputs[1:]), last]
    return [_Layer(*one) for one in zip(inputs, weights, outputs, strict=True)]


def _propagate(layers: Sequence[_Layer], zero: np.ndarray) -> None:
    """Fill all outputs from the first inputs; ReLU between layers."""
    *hidden, last = layers
    for inputs, weight, output in hidden:
        np.dot(inputs, weight, out=output)
        # An array: a Python number would be converted each time.
        np.maximum(output, zero, out=output)
    np.dot(last.inputs, last.weight, out=last.output)


def propagate_single(folded: FoldedMLP, features: th.Tensor) -> th.Tensor:
    """
    Output of a network without inputs besides the features.

    :param folded: The folded network.
    :param features: Shape (1, F).
    :return: Shape (1, output).
    """
    row = _single_row(folded)
    output = row.hoist(features)
    if row.weights:
        layers = _chain(row.weights)
        np.maximum(output, 0.0, out=layers[0].inputs[:-1])
        _propagate(layers, np.zeros_like(output[0]))
        output = layers[-1].output
    return th.from_numpy(output).unsqueeze(0)


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
    # The state's part of the first layer is the bias of action and t; the last layer gives velocities times dt.
    weights = [np.vstack([row.input_weight, row.hoist(features)]), *row.weights]
    weights[-1] = weights[-1] * dt
    layers = _chain(weights)
    inputs, displacement = layers[0].inputs, layers[-1].output
    action = inputs[:-2]
    action[...] = source_actions[0].numpy()
    zero, one = np.zeros_like(action[0]), np.ones_like(action[0])
    minus_one = -one
    for k in range(1, n_steps + 1):
        inputs[-2] = k * dt
        _propagate(layers, zero)
        # Each component of the velocity is clipped to [-1/dt, 1/dt].
        np.maximum(displacement, minus_one, out=displacement)
        np.minimum(displacement, one, out=displacement)
        action += displacement
    return th.from_numpy(action.copy()).unsqueeze(0)

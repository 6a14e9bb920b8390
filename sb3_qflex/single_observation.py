"""
Acting on one observation on a CPU: folded networks as matrix-vector products of NumPy.

For one row, what an operation of torch costs besides its arithmetic is several times the arithmetic. NumPy's costs a
fraction of it, and shares the folded networks' memory.
"""

from weakref import WeakKeyDictionary

import numpy as np
import torch as th

from sb3_qflex.folding import FoldedMLP


class _SingleRow:
    """A folded network's arrays, and memory for the outputs of its layers."""

    def __init__(self, folded: FoldedMLP):
        self.layers = [
            (*_arrays(*layer), np.empty(len(layer.bias), layer.bias.numpy().dtype)) for layer in folded.layers
        ]
        # Contiguous: np.dot would otherwise copy the matrix at every product.
        self.input_weight = np.ascontiguousarray(folded.input_weight.numpy().T)

    def propagate(self, z: np.ndarray) -> np.ndarray:
        """``FoldedMLP.propagate``; overwrites z, and its result is overwritten by the next call."""
        for weight, bias, out in self.layers:
            np.maximum(z, 0.0, out=z)
            z = np.dot(weight, z, out=out)
            z += bias
        return z


def _arrays(*tensors: th.Tensor) -> tuple[np.ndarray, ...]:
    return tuple(tensor.detach().numpy() for tensor in tensors)


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


def propagate_single(folded: FoldedMLP, features: th.Tensor) -> th.Tensor:
    """
    Output of a network without inputs besides the features.

    :param folded: The folded network.
    :param features: Shape (1, F).
    :return: Shape (1, output).
    """
    output = _single_row(folded).propagate(folded.hoist(features)[0].numpy())
    return th.from_numpy(output.copy()).unsqueeze(0)


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
    action_weight, time_weight = row.input_weight[:-1], row.input_weight[-1]
    times = np.arange(1, n_steps + 1, dtype=time_weight.dtype) * dt
    first_layers = field.hoist(features).numpy() + np.outer(times, time_weight)
    action, z = source_actions[0].numpy().copy(), np.empty_like(time_weight)
    for first_layer in first_layers:
        np.dot(action, action_weight, out=z)
        z += first_layer
        velocity = row.propagate(z)
        velocity *= dt
        # Each component is clipped to [-1/dt, 1/dt], here already times dt.
        np.maximum(velocity, -1.0, out=velocity)
        np.minimum(velocity, 1.0, out=velocity)
        action += velocity
    return th.from_numpy(action).unsqueeze(0)

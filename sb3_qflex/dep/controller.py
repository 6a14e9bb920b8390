"""
Differential extrinsic plasticity: the controller that moves muscles coherently, for many environments at once.

Der and Martius' rule as in Schumacher et al. (arXiv 2206.00484), with one motor for each sensor and the inverse model
M = -I. E is the number of environments, d that of muscles. All numbers are float64: norms of rows of small
correlations underflow in float32.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sb3_qflex.dep.config import DEPConfig

Array = NDArray[np.float64]

# Keeps divisions by norms defined where there is nothing to divide.
_TINY = 1e-32
_RANGE_OFFSET = 0.1
_BIAS_STEP = 0.05
_BIAS_DECAY = 0.001


def correlation(deltas: Array, tau: int, time_dist: int) -> Array:
    """
    C = sum over j = 2 .. tau - 1 of (M delta_j)(delta_{j+D})^T, with M = -I.

    :param deltas: Velocities of the sensors, the newest (delta_1) first, shape (E, tau + D - 1, d)
    :param tau: Window
    :param time_dist: D
    :return: Shape (E, d, d)
    """
    recent, earlier = deltas[:, 1 : tau - 1], deltas[:, 1 + time_dist : tau - 1 + time_dist]
    return -np.matmul(recent.transpose(0, 2, 1), earlier)


def normalized(matrix: Array, normalization: str) -> Array:
    """
    C divided by its norms. The gain kappa, which the authors put in here, cancels in :func:`drive`.

    :param matrix: C, shape (E, d, d)
    :param normalization: "independent" rows, "reference" for columns by the norms of the rows of the same number, as
        the authors' code has it, or each environment's whole matrix ("global")
    :return: Shape (E, d, d)
    """
    squares = np.square(matrix).sum(axis=2, keepdims=True)
    if normalization == "reference":
        squares = squares.transpose(0, 2, 1)
    if normalization == "global":
        squares = squares.sum(axis=1, keepdims=True)
    return matrix / (np.sqrt(squares) + _TINY)


def drive(matrix: Array, sensors: Array) -> Array:
    """
    q = C_n x, of length 1.

    :param matrix: C_n, shape (E, d, d)
    :param sensors: x, shape (E, d)
    :return: Shape (E, d); zeros where C_n is zero
    """
    q = np.matmul(matrix, sensors[:, :, None])[:, :, 0]
    return q / (np.linalg.norm(q, axis=1, keepdims=True) + _TINY)


class Readings(NamedTuple):
    """Lengths and forces of the muscles, each (E, d)."""

    lengths: Array
    forces: Array


class SensorScale:
    """
    From muscle lengths and forces to sensors: each relative to its extremes since the start of training.

    :param n_envs: E
    :param n_motors: d
    """

    def __init__(self, n_envs: int, n_motors: int) -> None:
        shape = (n_envs, n_motors)
        # Where the authors' extremes start.
        self.low = Readings(np.full(shape, 100.0), np.full(shape, 100.0))
        self.high = Readings(np.full(shape, 0.0), np.full(shape, -100.0))
        self.last = Readings(np.zeros(shape), np.zeros(shape))

    def update(self, lengths: Array, forces: Array) -> None:
        """
        :param lengths: (E, d)
        :param forces: (E, d)
        """
        self.last = Readings(lengths, forces)
        self.low = Readings(*map(np.minimum, self.low, self.last))
        self.high = Readings(*map(np.maximum, self.high, self.last))

    def sensors(self, force_scale: float) -> Array:
        """
        :param force_scale: Weight of the forces
        :return: Of the last readings, (E, d): in [-1, 1] and beside that the share of the forces
        """
        length, force = (
            (value - low) / (high - low + _RANGE_OFFSET)
            for value, low, high in zip(self.last, self.low, self.high, strict=True)
        )
        return 2.0 * (length - 0.5) + force_scale * force


class DEPController:
    """
    What the controller remembers between two calls.

    :param config: Gives the length of the memory
    :param n_envs: E
    :param n_motors: d
    """

    def __init__(self, config: DEPConfig, n_envs: int, n_motors: int) -> None:
        shape = (n_envs, n_motors)
        self.calls = np.zeros(n_envs, dtype=np.int64)
        self.smoothed = np.zeros(shape)
        self.deltas = np.zeros((n_envs, config.tau + config.time_dist - 1, n_motors))
        self.bias = np.zeros(shape)
        self.action = np.zeros(shape)

    def step(self, config: DEPConfig, sensors: Array) -> Array:
        """
        Take in one reading and say what DEP would do.

        :param config: With the ``tau`` and ``time_dist`` of the constructor
        :param sensors: x, shape (E, d)
        :return: y in [-1, 1], shape (E, d)
        """
        self._remember(config, sensors)
        self._move_bias(config.bias_rate)
        matrix = normalized(correlation(self.deltas, config.tau, config.time_dist), config.normalization)
        self.action = np.tanh(config.kappa * drive(matrix, self.smoothed) + self.bias)
        return self.action

    def restart(self, envs: NDArray[np.bool_]) -> None:
        """
        Forget what was in some environments.

        :param envs: Which, shape (E,)
        """
        for remembered in (self.calls, self.smoothed, self.deltas, self.bias, self.action):
            remembered[envs] = 0

    def _remember(self, config: DEPConfig, sensors: Array) -> None:
        calls = self.calls[:, None]
        share = 1.0 / config.s4avg if config.s4avg > 1.0 else 1.0
        delta = np.where(calls == 0, sensors - self.smoothed, share * (sensors - self.smoothed))
        self.smoothed = self.smoothed + delta
        self.deltas[:, 1:] = self.deltas[:, :-1]
        # The first reading has no velocity, and the sum leaves out the velocity between it and the second one.
        self.deltas[:, 0] = np.where(calls <= 1, 0.0, delta)
        self.calls += 1

    def _move_bias(self, rate: float) -> None:
        if rate < 0.0:
            self.bias = np.zeros_like(self.bias)
        else:
            self.bias = self.bias - np.clip(rate * self.action, -_BIAS_STEP, _BIAS_STEP) - _BIAS_DECAY * self.bias

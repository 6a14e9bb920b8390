"""The arrays a worker and the ``VecEnv`` exchange at every step, laid out in one block of memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# The Python types a scalar of an info may have; its code is its place here, 0 meaning that there was none.
SCALAR_TYPES: tuple[Any, ...] = (None, float, int, bool)
_ALIGNMENT = 64

Shape = tuple[int, ...]


@dataclass
class Batch:
    """
    One row per environment.

    :param actions: the actions to take
    :param observations: by key of a ``Dict`` space, index of a ``Tuple`` space, or None for a plain space
    :param rewards: float32, as ``DummyVecEnv`` keeps them
    :param dones: whether the episode ended
    :param truncated: whether it ended by truncation alone
    :param scalars: float64, the requested scalars of the infos, one column per key
    :param scalar_types: uint8, the places of their types in ``SCALAR_TYPES``
    """

    actions: np.ndarray
    observations: dict[Any, np.ndarray]
    rewards: np.ndarray
    dones: np.ndarray
    truncated: np.ndarray
    scalars: np.ndarray
    scalar_types: np.ndarray

    def rows(self, rows: slice) -> "Batch":
        """The views of these environments alone."""
        observations = {key: array[rows] for key, array in self.observations.items()}
        rest = (self.rewards, self.dones, self.truncated, self.scalars, self.scalar_types)
        return Batch(self.actions[rows], observations, *(array[rows] for array in rest))

    def results(self) -> list[np.ndarray]:
        """All arrays a step or reset writes, in a fixed order."""
        rest = [self.rewards, self.dones, self.truncated, self.scalars, self.scalar_types]
        return [*self.observations.values(), *rest]


@dataclass(frozen=True)
class BatchLayout:
    """
    Shapes and types of a ``Batch``.

    :param n_envs: number of environments (rows)
    :param action: shape and dtype of one action
    :param observations: shape and dtype of one observation, by key
    :param info_keys: names of the scalars taken from the infos
    """

    n_envs: int
    action: tuple[Shape, np.dtype]
    observations: dict[Any, tuple[Shape, np.dtype]] = field(default_factory=dict)
    info_keys: tuple[str, ...] = ()

    def _fields(self) -> Iterator[tuple[Shape, np.dtype]]:
        yield self.action
        yield from self.observations.values()
        yield (), np.dtype(np.float32)
        yield (), np.dtype(bool)
        yield (), np.dtype(bool)
        yield (len(self.info_keys),), np.dtype(np.float64)
        yield (len(self.info_keys),), np.dtype(np.uint8)

    def _nbytes(self, shape: Shape, dtype: np.dtype) -> int:
        size = self.n_envs * int(np.prod(shape)) * dtype.itemsize
        # Whole cache lines: two workers then share at most the lines at the border of their rows.
        return -(-size // _ALIGNMENT) * _ALIGNMENT

    @property
    def nbytes(self) -> int:
        """Size of the block in bytes."""
        return sum(self._nbytes(*one) for one in self._fields())

    def batch(self, block: Any) -> Batch:
        """Arrays over a writable buffer of at least ``nbytes`` bytes."""
        arrays, offset = [], 0
        for shape, dtype in self._fields():
            arrays.append(np.ndarray((self.n_envs, *shape), dtype=dtype, buffer=block, offset=offset))
            offset += self._nbytes(shape, dtype)
        actions, *rest = arrays
        n_obs = len(self.observations)
        return Batch(actions, dict(zip(self.observations, rest[:n_obs], strict=True)), *rest[n_obs:])

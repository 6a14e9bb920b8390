"""The arrays a worker and the ``VecEnv`` exchange at every step: one record an environment, in one block."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

# The Python types a scalar of an info may have; its code is its place here, 0 meaning that there was none.
SCALAR_TYPES: tuple[Any, ...] = (None, float, int, bool)

Shape = tuple[int, ...]


class Batch:
    """
    Views of the fields that :class:`BatchLayout` gives a record, one row per environment; ``observations`` is by key of
    a ``Dict`` space, index of a ``Tuple`` space, or None for a plain space.

    :param records: of some environments
    :param keys: of the observations
    """

    def __init__(self, records: np.ndarray, keys: tuple[Any, ...]):
        self.records, self._keys = records, keys
        self.actions, self.rewards = records["actions"], records["rewards"]
        self.dones, self.truncated = records["dones"], records["truncated"]
        self.scalars, self.scalar_types = records["scalars"], records["scalar_types"]
        self.observations = {key: records[f"observation {index}"] for index, key in enumerate(keys)}

    def rows(self, rows: slice) -> "Batch":
        """The views of these environments alone."""
        return Batch(self.records[rows], self._keys)


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

    @property
    def _record(self) -> np.dtype:
        shape, dtype = self.action
        fields: list[tuple[str, Any, Shape]] = [("actions", dtype, shape)]
        fields += [(f"observation {i}", dtype, shape) for i, (shape, dtype) in enumerate(self.observations.values())]
        # As DummyVecEnv keeps rewards.
        fields += [("rewards", np.float32, ()), ("dones", bool, ()), ("truncated", bool, ())]
        n_keys = len(self.info_keys)
        fields += [("scalars", np.float64, (n_keys,)), ("scalar_types", np.uint8, (n_keys,))]
        return np.dtype(fields, align=True)

    @property
    def nbytes(self) -> int:
        """Size of the block in bytes."""
        return self.n_envs * self._record.itemsize

    def batch(self, block: Any) -> Batch:
        """Arrays over a writable buffer of at least ``nbytes`` bytes."""
        return Batch(np.ndarray((self.n_envs,), self._record, block), tuple(self.observations))

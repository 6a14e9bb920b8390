"""What an algorithm logs of its updates: means accumulated on the device, and diagnostics that a dump computes."""

from collections.abc import Callable
from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

#: Gradient steps between two computations of the diagnostics, at least: they may take longer than an update, and with
#: dozens of environments some episodes end, and SB3 dumps, at almost every step.
DIAGNOSTICS_INTERVAL = 20


class RunningMeans:
    """Means of scalars since the last :meth:`pop`, on the device of the scalars: adding does not synchronise."""

    def __init__(self) -> None:
        self._sums: dict[str, th.Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, value: th.Tensor) -> None:
        """
        :param name: Name of the scalar.
        :param value: One element.
        """
        value = value.detach().reshape(())
        self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._counts[name] = self._counts.get(name, 0) + 1

    def values(self) -> dict[str, float]:
        """Means by name, fetched at once."""
        names = list(self._sums)
        sums = th.stack([self._sums[name].double() for name in names]).tolist() if names else []
        return {name: total / self._counts[name] for name, total in zip(names, sums, strict=True)}

    def pop(self) -> dict[str, float]:
        """Means by name, fetched at once; starts anew."""
        means = self.values()
        self._sums, self._counts = {}, {}
        return means


class TrainingLog:
    """What the ``train/`` keys show, gathered between two dumps."""

    def __init__(self) -> None:
        self.means = RunningMeans()
        self.last_observations: PyTorchObs | None = None
        self._n_updates = 0
        self._num_timesteps = 0
        self._values: dict[str, float] = {}
        self._diagnostics: dict[str, float] = {}
        self._diagnosed_at = 0

    def start(self, n_updates: int, num_timesteps: int) -> None:
        """
        Count updates and steps from here.

        :param n_updates: Gradient steps so far.
        :param num_timesteps: Environment steps so far.
        """
        self._n_updates, self._num_timesteps = n_updates, num_timesteps

    def state(self) -> dict[str, Any]:
        """What was gathered since the last dump, for :meth:`restore`."""
        return {**vars(self), "means": dict(vars(self.means))}

    def restore(self, state: dict[str, Any]) -> None:
        """
        :param state: What :meth:`state` gave; tensors on the device of the model.
        """
        vars(self).update({name: value for name, value in state.items() if name != "means"})
        vars(self.means).update(state["means"])

    def values(
        self,
        diagnose: Callable[[PyTorchObs], dict[str, float]],
        pop_counts: Callable[[], dict[str, float]],
        n_updates: int,
        num_timesteps: int,
    ) -> dict[str, float]:
        """
        Means since the last call and diagnostics on the last batch; empty where nothing was learned since. Diagnostics
        younger than ``DIAGNOSTICS_INTERVAL`` gradient steps are shown again.

        :param diagnose: Computes the diagnostics at observations.
        :param pop_counts: Gives what was counted since it was called last.
        :param n_updates: Gradient steps so far.
        :param num_timesteps: Environment steps so far.
        """
        updates, steps = n_updates - self._n_updates, num_timesteps - self._num_timesteps
        if updates > 0 and self.last_observations is not None:
            if not self._diagnostics or n_updates - self._diagnosed_at >= DIAGNOSTICS_INTERVAL:
                self._diagnostics = diagnose(self.last_observations)
                self._diagnosed_at = n_updates
            shares = {**pop_counts(), "updates_per_step": updates / max(steps, 1)}
            self._values = {**self.means.pop(), **self._diagnostics, **shares}
        elif steps > 0:
            self._values = {}
        # Episodes that end at the same step dump one after the other: each of them shows the same values.
        self.start(n_updates, num_timesteps)
        return self._values

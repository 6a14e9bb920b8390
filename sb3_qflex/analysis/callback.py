"""The cheap analyses while a model learns: scalars and a picture for the logger of SB3."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Figure
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.analysis.actuators import actuator_names, groups
from sb3_qflex.analysis.correlation import draw, mean_absolute, noise_correlation
from sb3_qflex.analysis.partway import q_along
from sb3_qflex.analysis.states import select
from sb3_qflex.common.validation import check_count
from sb3_qflex.qflex.metrics import flow_diagnostics
from sb3_qflex.qflex.qflex import QFlex

PREFIX = "diagnostics"
_PARTWAY = (0.25, 0.5, 0.75, 1.0)


@contextmanager
def untouched_random_state(device: th.device) -> Iterator[None]:
    """Leaves the global random states of NumPy and torch as they were, for a model on ``device``."""
    state = np.random.get_state()
    try:
        with th.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        np.random.set_state(state)


class DiagnosticsCallback(BaseCallback):
    """
    Logs analyses of QFlex under ``diagnostics/`` every ``every`` environment steps, on states of the replay buffer.

    ``flow_superiority``, ``flow_displacement``, ``q_gain`` (mean min Q of the executed action minus the source's);
    ``q_gain_t0.25`` to ``q_gain_t1``, the same part-way along the flow; ``correlation_within`` and
    ``correlation_between``, mean absolute correlation of the exploration noise for pairs of actuators within and
    between groups that their names give, and ``source_correlation``, the same over all pairs of the Gaussian source:
    the sampling error. ``correlation`` is the matrix as a picture, which TensorBoard shows. Written at the logger's
    next dump; nothing is computed before the first update. Learning is not disturbed: with and without the callback a
    run gives the same parameters.

    In the RL Zoo: ``callback: sb3_qflex.DiagnosticsCallback``.

    :param every: environment steps between two computations, at least 1
    :param n_states: states for superiority and Q, at least 1
    :param n_noise_states: of them, those for the correlation, at least 1
    :param n_samples: noise samples at each of these, at least 2
    :param image: whether to log the picture
    :param verbose: as in SB3
    :raises ValueError: for values out of range
    """

    model: QFlex

    def __init__(
        self,
        every: int = 10_000,
        n_states: int = 256,
        n_noise_states: int = 32,
        n_samples: int = 32,
        image: bool = True,
        verbose: int = 0,
    ):
        super().__init__(verbose)
        check_count("every", every)
        check_count("n_states", n_states)
        check_count("n_noise_states", n_noise_states)
        check_count("n_samples", n_samples, 2)
        self.every = every
        self.n_states = n_states
        self.n_noise_states = min(n_noise_states, n_states)
        self.n_samples = n_samples
        self.image = image
        self._last = 0
        self._labels: list[str] = []

    def _init_callback(self) -> None:
        if not isinstance(self.model, QFlex):
            raise TypeError(f"DiagnosticsCallback is for QFlex, not for {type(self.model).__name__}")

    def _on_training_start(self) -> None:
        self._last = self.num_timesteps
        names = actuator_names(self.training_env)
        self._labels = groups(names, self.model.actor.action_dim)

    def _on_step(self) -> bool:
        model = self.model
        due = self.num_timesteps - self._last >= self.every
        # A model that goes on without its replay buffer has learned, and has nothing to draw states from.
        if due and model._n_updates > 0 and model.has_enough_transitions:
            self._last = self.num_timesteps
            with untouched_random_state(self.model.device):
                self._log()
        return True

    def _log(self) -> None:
        policy, buffer = self.model.policy, self.model.replay_buffer
        assert buffer is not None, "updates need a replay buffer"
        obs = buffer.sample(self.n_states, env=self.model.get_vec_normalize_env()).observations
        found = flow_diagnostics(policy, obs)
        scalars = {key: found[key] for key in ("flow_superiority", "flow_displacement")}
        scalars["q_gain"] = found["q_flow"] - found["q_source"]
        if policy.exploration == "flow":
            along = q_along(policy, obs, _PARTWAY)
            for case, gain in zip(along["case"], along["gain of min Q"], strict=True):
                scalars[f"q_gain_{case.replace(' = ', '')}"] = gain
        scalars |= self._correlation(select(obs, slice(self.n_noise_states)))
        for name, value in scalars.items():
            # A mean over no pair is not a number, and no curve.
            if np.isfinite(value):
                self.logger.record(f"{PREFIX}/{name}", value)

    def _correlation(self, obs: PyTorchObs) -> dict[str, float]:
        found = noise_correlation(self.model.policy, obs, self.n_samples)
        if self.image:
            picture = Figure(draw({"executed": found.flow, "source": found.source}, self._labels), close=True)
            self.logger.record(f"{PREFIX}/correlation", picture, exclude=("stdout", "log", "json", "csv"))
        means = mean_absolute(found.flow, self._labels)
        source = mean_absolute(found.source, [""] * len(self._labels))["within"]
        return {**{f"correlation_{name}": value for name, value in means.items()}, "source_correlation": source}

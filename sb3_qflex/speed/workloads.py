"""Models of given sizes with a filled replay buffer, and what is done to them between timings."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from sb3_contrib import CrossQ
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import configure
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_qflex.qflex.policies import QFlexPolicy
from sb3_qflex.qflex.qflex import QFlex
from sb3_qflex.speed.flops import Problem
from sb3_qflex.speed.settings import BATCH_SIZE

_Algorithm = TypeVar("_Algorithm", bound=OffPolicyAlgorithm)
#: Larger than caches, as the buffer of a real run is.
_BUFFER_BYTES = 128 * 2**20
_MAX_TRANSITIONS = 20_000
#: Updates before timing: BatchRenorm's warm-up of 10 forwards is another code path.
_SETTLING_UPDATES = 12


class SyntheticEnv(gym.Env):
    """Spaces of given sizes and standard normal observations."""

    def __init__(self, obs_dim: int, action_dim: int):
        self.observation_space = spaces.Box(-np.inf, np.inf, (obs_dim,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (action_dim,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self._observation(), 0.0, False, False, {}

    def _observation(self) -> np.ndarray:
        return self.np_random.standard_normal(self.observation_space.shape, dtype=np.float32)


def filled_buffer(problem: Problem, transitions: int | None = None, device: str = "cpu") -> ReplayBuffer:
    """
    :param problem: Sizes.
    :param transitions: Size of the buffer; by default larger than a processor's caches.
    :param device: Where its batches go, and the models that sample it.
    :return: A full replay buffer of random transitions, of which one in a hundred is terminal.
    """
    env = SyntheticEnv(problem.obs_dim, problem.action_dim)
    if transitions is None:
        row_bytes = 4 * (2 * problem.obs_dim + problem.action_dim)
        transitions = min(_MAX_TRANSITIONS, _BUFFER_BYTES // row_bytes)
    buffer = ReplayBuffer(transitions, env.observation_space, env.action_space, device=device)
    rng = np.random.default_rng(0)
    for array in (buffer.observations, buffer.next_observations, buffer.rewards):
        array[...] = rng.standard_normal(array.shape, dtype=np.float32)
    buffer.actions[...] = rng.uniform(-1.0, 1.0, buffer.actions.shape)
    buffer.dones[...] = rng.random(buffer.dones.shape) < 0.01
    buffer.full = True
    return buffer


def made(
    algorithm: type[_Algorithm],
    problem: Problem,
    buffer: ReplayBuffer,
    policy_kwargs: Mapping[str, Any] = MappingProxyType({}),
    **kwargs: Any,
) -> _Algorithm:
    """A model with the networks of ``problem``, after a few updates."""
    policy_kwargs = {"net_arch": list(problem.hidden), "n_critics": problem.n_critics, **policy_kwargs}
    env = SyntheticEnv(problem.obs_dim, problem.action_dim)
    device = buffer.device
    model = algorithm("MlpPolicy", env, policy_kwargs=policy_kwargs, buffer_size=1, seed=0, device=device, **kwargs)
    model.set_logger(configure(format_strings=[]))
    model.replay_buffer = buffer
    model.train(_SETTLING_UPDATES, BATCH_SIZE)
    return model


def qflex(problem: Problem, buffer: ReplayBuffer, **kwargs: Any) -> QFlex:
    """QFlex with the networks of ``problem``, after a few updates, as all models here."""
    return made(QFlex, problem, buffer, **kwargs)


def source_only(problem: Problem, buffer: ReplayBuffer) -> QFlex:
    """Our own CrossQ-equivalent: no guidance and no velocity field."""
    return qflex(problem, buffer, exploration="source", bootstrap="source")


def crossq(problem: Problem, buffer: ReplayBuffer) -> CrossQ:
    """sb3-contrib's CrossQ with ``policy_delay=1``, otherwise its defaults."""
    return made(CrossQ, problem, buffer, policy_delay=1)


def sac(problem: Problem, buffer: ReplayBuffer) -> SAC:
    """SB3's SAC with its defaults but for the networks."""
    return made(SAC, problem, buffer)


ALGORITHMS: dict[str, Callable[[Problem, ReplayBuffer], OffPolicyAlgorithm]] = {
    "QFlex": qflex,
    "CrossQ": crossq,
    "SAC": sac,
}


def touch(network: th.nn.Module) -> None:
    """Edit parameters in place without changing them, as a step would: what was folded has to be folded anew."""
    with th.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.0)


@contextmanager
def plain_path(policy: QFlexPolicy) -> Iterator[None]:
    """The readable definitions (autograd, nothing folded) inside the ``with``."""
    vars(policy)["fold"] = lambda *_: None
    try:
        yield
    finally:
        del vars(policy)["fold"]


def label(problem: Problem) -> str:
    """Row heading of a size."""
    widths = set(problem.hidden)
    width = "" if widths == {256} else f", {len(problem.hidden)} x {max(widths)}"
    return f"{problem.obs_dim} / {problem.action_dim}{width}"

"""Playing episodes: at each step what the policy proposes, what it makes of it, and what both are worth to it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.qflex.policies import QFlexPolicy
from sb3_qflex.watch.subject import Subject


@dataclass(frozen=True)
class Moment:
    """
    A state that is about to be acted in.

    :param episode: number of the episode
    :param step: steps of the episode so far
    :param time: seconds of simulated time so far
    :param reward: reward of the step that led here, 0 at the start
    :param total: sum of the rewards so far
    :param q_source: min_i Q_i of the source action
    :param q_executed: min_i Q_i of the action that will be executed
    :param action: that action, shape (|A|,), in [-1, 1]
    """

    episode: int
    step: int
    time: float
    reward: float
    total: float
    q_source: float
    q_executed: float
    action: NDArray[np.float32]


@th.no_grad()
def propose(
    policy: QFlexPolicy, observation: PyTorchObs, deterministic: bool
) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
    """
    The two steps of ``predict`` apart, and the critics' opinion of both: source actions and executed actions, shapes
    (B, |A|), in [-1, 1], and min_i Q_i of each, shapes (B,).
    """
    source = policy.source(observation, deterministic)
    executed = policy.explore(observation, source).clamp(-1.0, 1.0)
    return source, executed, policy.min_q(observation, source), policy.min_q(observation, executed)


@dataclass
class Episode:
    """
    One episode, played while it is iterated over. While a moment is handed out, the environment is in the state that
    it describes; the state that an episode ends in has no moment, as by then the environment has been reset.

    :param subject: model and environment
    :param number: number of the episode; it starts with the seed ``seed + number``, so that any of them can be played
        without those before it
    :param seed: seed of episode 0
    :param deterministic: whether the flow starts at tanh(mean) instead of a sample
    :param max_steps: steps at most, None for the whole episode
    """

    subject: Subject
    number: int
    seed: int = 0
    deterministic: bool = True
    max_steps: int | None = None
    steps: int = field(default=0, init=False)
    total: float = field(default=0.0, init=False)

    def __iter__(self) -> Iterator[Moment]:
        """Play it from the start. ``steps`` and ``total``, the sum of rewards, count along."""
        model, env = self.subject.model, self.subject.env
        env.unwrapped.seed(self.seed + self.number)
        th.manual_seed(self.seed + self.number)
        observation: Any = env.reset()
        self.steps, self.total, reward = 0, 0.0, 0.0
        while self.max_steps is None or self.steps < self.max_steps:
            tensors, _ = model.policy.obs_to_tensor(observation)
            _, executed, q_source, q_executed = propose(model.policy, tensors, self.deterministic)
            action = executed.numpy()
            time = self.steps * self.subject.dt
            q_values = q_source.item(), q_executed.item()
            yield Moment(self.number, self.steps, time, reward, self.total, *q_values, action[0])
            scaled = action.reshape(-1, *model.policy.action_space.shape)
            observation, rewards, dones, _ = env.step(model.policy.unscale_action(scaled))
            reward = float(rewards[0])
            self.steps, self.total = self.steps + 1, self.total + reward
            if dones[0]:
                return

"""Playing episodes: at each step what the policy proposes, what it makes of it, and what both are worth to it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.analysis.acting import predictor
from sb3_qflex.envs.action_repeat import SUCCESS
from sb3_qflex.export.stored import LeftOut
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
    :param q_source: min_i Q_i of the source action; None for a policy without a source, or without its critics
    :param q_executed: min_i Q_i of the action that will be executed; None as well
    :param action: that action, shape (|A|,), in [-1, 1]
    """

    episode: int
    step: int
    time: float
    reward: float
    total: float
    q_source: float | None
    q_executed: float | None
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


@dataclass(frozen=True)
class Answer:
    """
    What one observation is answered with.

    :param executed: the action in the environment's units, with a row for the environment
    :param shown: the same in [-1, 1], shape (|A|,)
    :param q_source: as in :class:`Moment`
    :param q_executed: as in :class:`Moment`
    """

    executed: NDArray[np.float32]
    shown: NDArray[np.float32]
    q_source: float | None = None
    q_executed: float | None = None


def act(policy: BasePolicy, observation: Any, deterministic: bool) -> Answer:
    """
    The action that ``predict`` executes, and what the critics say of source and executed action where there are both.

    :raises ModelError: for recurrent policies
    """
    if isinstance(policy, QFlexPolicy) and not isinstance(policy.critic, LeftOut):
        proposed = propose(policy, policy.obs_to_tensor(observation)[0], deterministic)
        _, executed, q_source, q_executed = proposed
        shown = executed.numpy()
        scaled = policy.unscale_action(shown.reshape(-1, *policy.action_space.shape))
        return Answer(scaled, shown[0], q_source.item(), q_executed.item())
    actions = predictor(policy, deterministic)(observation)
    # Not the policy's own scaling, which for DynSyn's is that of groups.
    box = policy.action_space
    assert isinstance(box, spaces.Box)
    return Answer(actions, (2.0 * (actions[0] - box.low) / (box.high - box.low) - 1.0).ravel())


@dataclass
class Episode:
    """
    One episode, played while it is iterated over. While a moment is handed out, the environment is in the state that
    it describes; the state that an episode ends in has no moment, as by then the environment has been reset.

    :param subject: policy and environment
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
    solved: bool | None = field(default=None, init=False)
    reached: bool = field(default=False, init=False)

    def __iter__(self) -> Iterator[Moment]:
        """
        Play it from the start. ``steps`` and ``total``, the sum of rewards, count along; ``solved`` is whether the task
        was done in the last step, None where it does not tell, and ``reached`` whether it was in any.
        """
        policy, env = self.subject.policy, self.subject.env
        env.unwrapped.seed(self.seed + self.number)
        th.manual_seed(self.seed + self.number)
        observation: Any = env.reset()
        self.steps, self.total, reward = 0, 0.0, 0.0
        while self.max_steps is None or self.steps < self.max_steps:
            answer = act(policy, observation, self.deterministic)
            time, opinions = self.steps * self.subject.dt, (answer.q_source, answer.q_executed)
            yield Moment(self.number, self.steps, time, reward, self.total, *opinions, answer.shown)
            observation, rewards, dones, infos = env.step(answer.executed)
            self.solved = next((bool(infos[0][key]) for key in SUCCESS if key in infos[0]), None)
            self.reached |= bool(self.solved)
            reward = float(rewards[0])
            self.steps, self.total = self.steps + 1, self.total + reward
            if dones[0]:
                return

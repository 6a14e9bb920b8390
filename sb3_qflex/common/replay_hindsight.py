"""
Hindsight Experience Replay (arXiv 1707.01495) for flat observations that contain their goal, with n-step returns.

SB3's ``HerReplayBuffer`` asks for Dict observations and one-step returns, and a policy trained on them does not act in
the task as it is. Here goals are replaced within the flat observation, when a batch is drawn.
"""

from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_qflex.common.replay_recent import OneStep
from sb3_qflex.common.validation import UnsupportedError, check_count, check_number

Array = NDArray[Any]


class Goals(Protocol):
    """
    Where the goals of a task are in its observations, and what they are worth. An environment or a wrapper gives it as
    its attribute ``hindsight_goals``; :class:`sb3_qflex.envs.DistanceGoals` is one.
    """

    size: int  #: Entries of an observation

    def achieved(self, observations: Array) -> Array:
        """
        :param observations: (..., ``size``)
        :return: The goals that they have reached, (..., |G|)
        """

    def may_be_asked(self, goals: Array) -> NDArray[np.bool_]:
        """
        :param goals: (..., |G|)
        :return: Which of them the task could ask for, (...)
        """

    def relabelled(self, observations: Array, goals: Array) -> Array:
        """
        :param observations: (..., ``size``), left as they are
        :param goals: (..., |G|)
        :return: The observations, had these been the goals, (..., ``size``)
        """

    def reward(self, observations: Array) -> Array:
        """
        :param observations: After the step, (..., ``size``)
        :return: What their goals contribute to the reward, (...)
        """


def goals_of(env: VecEnv) -> Goals:
    """
    :param env: The training environment.
    :return: Its ``hindsight_goals``.
    :raises UnsupportedError: If it has none.
    """
    try:
        goals: Goals | None = env.get_attr("hindsight_goals", indices=[0])[0]
    except AttributeError:
        goals = None
    if goals is None:
        raise UnsupportedError(
            "HindsightReplayBuffer needs an environment whose attribute hindsight_goals says where its goals are. "
            "MyoSuite's tasks of reaching, of poses and of holding an object have it in the wrapper "
            "sb3_qflex.envs.myo.MyoTask, without ActionRepeat; one of your own may."
        )
    return goals


def check_size(goals: Goals, observation_space: spaces.Space) -> None:
    """
    :param goals: Of a task.
    :param observation_space: What is stored.
    :raises UnsupportedError: If they describe other observations.
    """
    if observation_space.shape != (goals.size,):
        raise UnsupportedError(
            f"The goals are those of observations of shape {(goals.size,)}, and the model's have "
            f"{observation_space.shape}: leave out what changes the observations on their way."
        )


class HindsightReplayBuffer(OneStep):
    """
    Replay buffer that replaces the goals of a share of each batch by such as were reached later in the same episode,
    and the rewards by those for the new goals. For tasks whose flat observation contains the goal::

        QFlex("MlpPolicy", env, replay_buffer_class=HindsightReplayBuffer)

    The new goal of a transition is what the episode reached after a number of steps that is uniform from the transition
    itself to the end of the episode, or to ``horizon``. Where the task could not ask for that goal the transition stays
    as it is. A reward changes by the difference of what the two goals contribute, so what wrappers add to it is kept;
    one that multiplies or sums rewards does not fit. Terminations stay what they were, with what they cost.

    :param arguments: As for SB3's ``NStepReplayBuffer``; ``optimize_memory_usage`` is not supported.
    :param goals: Of the task; the algorithm passes ``hindsight_goals`` of its environment.
    :param her_ratio: Share of the batch whose goals are replaced, in [0, 1].
    :param horizon: How many steps ahead goals are looked for, at least 1.
    :param n_steps: Steps of the return; the algorithm passes its own.
    :param gamma: Discount factor; the algorithm passes its own.
    :raises ValueError: For arguments out of range, or goals of other observations.
    """

    def __init__(self, *arguments: Any, goals: Goals, her_ratio: float = 0.5, horizon: int = 100, **keywords: Any):
        self.check_arguments({"her_ratio": her_ratio, "horizon": horizon})
        super().__init__(*arguments, **keywords)
        check_size(goals, self.observation_space)
        self.goals = goals
        self.her_ratio = her_ratio
        self.horizon = horizon

    @staticmethod
    def check_arguments(arguments: dict[str, Any]) -> None:
        """
        :param arguments: What the constructor is to be given; others are left alone.
        :raises ValueError: For a value out of range.
        """
        if "her_ratio" in arguments:
            check_number("her_ratio", arguments["her_ratio"], maximum=1.0)
        if "horizon" in arguments:
            check_count("horizon", arguments["horizon"])

    def _get_samples(self, batch_inds: Array, env: VecNormalize | None = None) -> ReplayBufferSamples:
        envs = np.random.randint(0, self.n_envs, size=batch_inds.shape)
        ahead, left = self._rest_of_episode(batch_inds, envs)
        steps = np.arange(self.n_steps)
        span = np.minimum(left, self.n_steps - 1)
        rows, last = ahead[:, : self.n_steps], ahead[np.arange(len(span)), span]
        observations = self.observations[batch_inds, envs]
        following = self.next_observations[rows, envs[:, None]]
        rewards = self.rewards[rows, envs[:, None]]

        chosen, goals = self._new_goals(ahead, left, envs)
        observations[chosen] = self.goals.relabelled(observations[chosen], goals)
        before = following[chosen]
        following[chosen] = self.goals.relabelled(before, goals[:, None])
        rewards[chosen] += self.goals.reward(following[chosen]) - self.goals.reward(before)

        within = steps <= span[:, None]  # beyond its end are other episodes, or rows that were never written
        rewards = np.where(within, self._normalize_reward(rewards, env) * self.gamma**steps, 0.0)
        ends = self.dones[last, envs] * (1.0 - self.timeouts[last, envs])
        return ReplayBufferSamples(
            observations=self.to_torch(self._normalize_obs(observations, env)),  # type: ignore[arg-type]
            actions=self.to_torch(self.actions[batch_inds, envs]),
            next_observations=self.to_torch(self._normalize_obs(following[np.arange(len(span)), span], env)),  # type: ignore[arg-type]
            dones=self.to_torch(ends[:, None].astype(np.float32)),
            rewards=self.to_torch(rewards.sum(axis=1, keepdims=True).astype(np.float32)),
            discounts=self.to_torch((self.gamma ** (span + 1.0))[:, None].astype(np.float32)),
        )

    def _rest_of_episode(self, rows: Array, envs: Array) -> tuple[Array, Array]:
        """The rows from each on, (batch, steps), and how many of them after the first are of the same episode."""
        ahead = (rows[:, None] + np.arange(max(self.horizon + 1, self.n_steps))) % self.buffer_size
        ended = np.logical_or(self.dones[ahead, envs[:, None]], self.timeouts[ahead, envs[:, None]])
        ended |= ahead == (self.pos - 1) % self.buffer_size  # the newest row has nothing after it
        ended[:, -1] = True
        return ahead, ended.argmax(axis=1)

    def _new_goals(self, ahead: Array, left: Array, envs: Array) -> tuple[Array, Array]:
        """Which transitions of the batch get new goals, as indices, and these goals."""
        chosen = np.flatnonzero(np.random.random(len(left)) < self.her_ratio)
        wait = np.random.randint(0, np.minimum(left[chosen], self.horizon) + 1)
        goals = self.goals.achieved(self.next_observations[ahead[chosen, wait], envs[chosen]])
        possible = self.goals.may_be_asked(goals)
        return chosen[possible], goals[possible]

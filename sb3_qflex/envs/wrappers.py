"""Wrappers: redundant actuators, MyoSuite 2.x's excitation map, sparse rewards, and a reward for staying alive."""

from math import isfinite
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray


def flat_box(env: gym.Env, wrapper: str) -> spaces.Box:
    """
    The one-dimensional Box that an environment acts in.

    :param env: The environment
    :param wrapper: What needs it, for the message
    :raises ValueError: For another action space
    """
    space = env.action_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise ValueError(f"{wrapper} needs a one-dimensional Box action space, got {space}")
    return space


class OverActuated(gym.ActionWrapper, RecordConstructorArgs):
    """
    Drive each actuator by the mean of ``copies`` redundant ones, which multiplies |A| and changes nothing else.

    Its actions are float32; ``copies * i`` to ``copies * i + copies - 1`` drive actuator i of the wrapped
    environment. Independent noise on the copies reaches it with its variance divided by ``copies``.

    :param env: Environment with a one-dimensional Box action space
    :param copies: Redundant actuators for each, at least 1
    :raises ValueError: If the action space is another one or ``copies`` is not a positive integer
    """

    def __init__(self, env: gym.Env, copies: int) -> None:
        if isinstance(copies, bool) or not isinstance(copies, int | np.integer) or copies < 1:
            raise ValueError(f"copies={copies!r}: a positive integer is needed")
        copies = int(copies)
        RecordConstructorArgs.__init__(self, copies=copies)
        gym.ActionWrapper.__init__(self, env)
        space = flat_box(env, "OverActuated")
        self.copies = copies
        low, high = (np.repeat(bound, copies).astype(np.float32) for bound in (space.low, space.high))
        self.action_space = spaces.Box(low, high, dtype=np.float32)

    def action(self, action: NDArray[Any]) -> NDArray[Any]:
        """
        :param action: (|A| * copies,)
        :return: (|A|,), the mean of each actuator's copies
        """
        return np.asarray(action).reshape(-1, self.copies).mean(axis=1)


class SigmoidExcitation(gym.ActionWrapper, RecordConstructorArgs):
    """
    MyoSuite 2.x's action map in front of muscles that take their excitation in [0, 1].

    An action a in [-1, 1] excites its muscle with 1 / (1 + exp(-5 (a - 0.5))): 0.076 at rest (a = 0), between
    0.0006 and 0.924 at the bounds.

    :param env: Environment with a one-dimensional action space [0, 1]
    :raises ValueError: If the action space is another one
    """

    def __init__(self, env: gym.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gym.ActionWrapper.__init__(self, env)
        space = flat_box(env, "SigmoidExcitation")
        if (space.low != 0.0).any() or (space.high != 1.0).any():
            raise ValueError(f"SigmoidExcitation needs excitations in [0, 1], got {space}")
        self.action_space = spaces.Box(-1.0, 1.0, space.shape, dtype=np.float32)

    def action(self, action: NDArray[Any]) -> NDArray[np.float32]:
        """
        :param action: (|A|,) in [-1, 1]
        :return: (|A|,) excitations in (0, 1)
        """
        scaled = 5.0 * (np.clip(action, -1.0, 1.0) - 0.5)
        return (1.0 / (1.0 + np.exp(-scaled))).astype(np.float32)


class AliveBonus(gym.RewardWrapper, RecordConstructorArgs):
    """
    A constant on top of each step's reward, so that no episode is worth ending.

    Where rewards are below 0 and a failure ends the episode, failing early costs least, and a learner finds that
    before it finds anything else: MyoSuite's object task gives about -10 for a step, and dropping the object ends it.
    A bonus above what a step may cost turns this around. Policies whose episodes last equally long are ranked as
    without it. In the RL Zoo, ``env_wrapper: [{sb3_qflex.envs.AliveBonus: {bonus: 10.0}}]``, curves and evaluations
    keep the task's own reward: SB3's ``Monitor`` is nearer to the task.

    :param env: Any environment
    :param bonus: What is added to the reward of each step, in its units
    :raises ValueError: If ``bonus`` is not a finite number
    """

    def __init__(self, env: gym.Env, bonus: float) -> None:
        if isinstance(bonus, bool) or not isinstance(bonus, int | float) or not isfinite(bonus):
            raise ValueError(f"bonus={bonus!r}: a finite number is needed")
        RecordConstructorArgs.__init__(self, bonus=bonus)
        gym.RewardWrapper.__init__(self, env)
        self.bonus: float = float(bonus)

    def reward(self, reward: SupportsFloat) -> float:
        """
        :param reward: The task's
        :return: With the bonus
        """
        return float(reward) + self.bonus


class SparseReward(gym.Wrapper, RecordConstructorArgs):
    """
    Reward 1 for a step at whose end an entry of ``info`` is true, or has reached a threshold, and 0 for all others.

    What the environment gave goes to ``info["dense_reward"]``. In the RL Zoo:
    ``env_wrapper: [{sb3_qflex.envs.SparseReward: {key: solved}}]``.

    :param env: Any environment
    :param key: Entry of ``info``: ``"is_success"``, MyoSuite's ``"solved"``, or a number
    :param threshold: The entry counts from this value on; None: it counts where it is true
    :raises ValueError: If ``threshold`` is not a finite number
    """

    #: Hindsight knows the rewards of the task, and these are others.
    hindsight_goals = None

    def __init__(self, env: gym.Env, key: str = "is_success", threshold: float | None = None) -> None:
        if threshold is not None and not np.isfinite(threshold):
            raise ValueError(f"threshold={threshold!r}: a finite number or None is needed")
        RecordConstructorArgs.__init__(self, key=key, threshold=threshold)
        gym.Wrapper.__init__(self, env)
        self.key = key
        self.threshold = threshold

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """
        :param action: Of the action space
        :return: As the wrapped environment, with the sparse reward
        :raises KeyError: If ``info`` has no such entry; that of a simulation that diverged counts as false
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self.key in info:
            reached = info[self.key] if self.threshold is None else info[self.key] >= self.threshold
        elif info.get("diverged"):
            reached = False
        else:
            raise KeyError(f"SparseReward: info has no {self.key!r}; it has {sorted(info)}")
        return observation, float(bool(reached)), terminated, truncated, {**info, "dense_reward": reward}

"""Decisions that last several frames, and success at any step of an episode."""

from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

#: Entries of ``info`` that say whether the task is done: MyoSuite's, and SB3's and RL Zoo's.
SUCCESS = ("solved", "is_success")


class ActionRepeat(gym.Wrapper, RecordConstructorArgs):
    """
    Hold each action for several steps ("frames") of the environment, or until the episode ends.

    The reward is the sum over the frames; ``info`` is that of the last one, but ``solved`` and ``is_success`` are true
    if they were at any of them, and ``frames`` is their number. Inside of a Monitor's, as RL Zoo and
    ``make_vec_env`` place it (``wrapper_class``, ``env_wrapper``), returns and lengths of episodes count frames, while
    ``num_timesteps``, ``n_timesteps`` and ``gamma`` count decisions. In the RL Zoo:
    ``env_wrapper: [{sb3_qflex.envs.ActionRepeat: {repeat: 2}}]``.

    :param env: Any environment
    :param repeat: Frames of a decision, at least 1
    :raises ValueError: If ``repeat`` is not a positive integer
    """

    #: Rewards are sums over frames, and hindsight knows those of one step.
    hindsight_goals = None

    def __init__(self, env: gym.Env, repeat: int) -> None:
        RecordConstructorArgs.__init__(self, repeat=repeat)
        gym.Wrapper.__init__(self, env)
        self.hold(repeat)

    def hold(self, repeat: int, share: float = 1.0) -> None:
        """
        Hold actions for so many frames from now on.

        :param repeat: Frames of a decision, at least 1
        :param share: Of the decisions that are held, in [0, 1]; the environment's random generator draws which, and the
            others last one frame
        :raises ValueError: If ``repeat`` is not a positive integer, or ``share`` not such a number
        """
        if isinstance(repeat, bool) or not isinstance(repeat, int | np.integer) or repeat < 1:
            raise ValueError(f"repeat={repeat!r}: a positive integer is needed, the frames for which an action is held")
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share={share!r}: a number in [0, 1] is needed, the share of decisions that are held")
        self.repeat, self.share = int(repeat), share

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """
        :param action: Of the action space
        :return: As the wrapped environment, over the frames
        """
        held = self.share == 1.0 or self.np_random.random() < self.share
        total, reached, frames, ended = 0.0, dict[str, bool](), 0, False
        while frames < (self.repeat if held else 1) and not ended:
            observation, reward, terminated, truncated, info = self.env.step(action)
            frames, total, ended = frames + 1, total + float(reward), terminated or truncated
            reached |= {key: bool(info[key]) or reached.get(key, False) for key in SUCCESS if key in info}
        return observation, total, terminated, truncated, {**info, **reached, "frames": frames}


class SuccessAtAnyStep(gym.Wrapper, RecordConstructorArgs):
    """
    ``info["is_success"]`` is true from the first step of an episode on at which it is, to the episode's end.

    SB3 and RL Zoo count an episode as a success by its last step; with this wrapper around the environment, by any.

    :param env: An environment whose ``info`` has ``is_success``
    """

    def __init__(self, env: gym.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self._reached = False

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """
        :param options: ``seed`` and ``options``
        :return: First observation and info
        """
        self._reached = False
        return self.env.reset(**options)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """
        :param action: Of the action space
        :return: As the wrapped environment
        :raises KeyError: If ``info`` has no ``is_success``
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        if "is_success" not in info:
            raise KeyError(f"SuccessAtAnyStep: info has no 'is_success'; it has {sorted(info)}")
        self._reached |= bool(info["is_success"])
        return observation, reward, terminated, truncated, {**info, "is_success": self._reached}

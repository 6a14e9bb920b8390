"""One action for each group of muscles: DynSyn without its weights, for any algorithm."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from sb3_qflex.envs.synergies.groups import GivenGroups, load_groups
from sb3_qflex.envs.wrappers import flat_box


class SynergyActions(gym.ActionWrapper, RecordConstructorArgs):
    """
    Act on groups of muscles: one value for each group, which all its muscles get.

    That is DynSyn (arXiv 2407.11472) whose state-dependent weights stay at 1, for every algorithm. In the RL Zoo:
    ``env_wrapper: [{sb3_qflex.envs.SynergyActions: {groups: myoLeg}}]``.

    :param env: Environment with a one-dimensional Box action space; the actuators of a group have the same bounds
    :param groups: Lists of actuators from 0, the name of a preset, or a JSON file of ``sb3-qflex synergies``; each
        actuator is in exactly one group
    :raises ValueError: If the groups do not fit the actuators, or the action space is another one
    """

    def __init__(self, env: gym.Env, groups: GivenGroups) -> None:
        RecordConstructorArgs.__init__(self, groups=groups)
        gym.ActionWrapper.__init__(self, env)
        space = flat_box(env, "SynergyActions")
        self.groups = load_groups(groups, space.shape[0])
        self._group_of = np.empty(space.shape[0], dtype=np.intp)
        for number, group in enumerate(self.groups):
            self._group_of[group] = number
        firsts = [group[0] for group in self.groups]
        low, high = space.low[firsts], space.high[firsts]
        uneven = np.flatnonzero((low[self._group_of] != space.low) | (high[self._group_of] != space.high))
        if uneven.size:
            raise ValueError(
                f"SynergyActions needs the same bounds for all actuators of a group, and those of actuators "
                f"{uneven[:5].tolist()} differ from the first ones' of their groups: wrap the environment in "
                "gymnasium.wrappers.RescaleAction(env, -1, 1) first."
            )
        self.action_space = spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)

    def action(self, action: NDArray[Any]) -> NDArray[Any]:
        """
        :param action: (G,), one value for each group
        :return: (|A|,), that of its group for each actuator
        """
        return np.asarray(action)[self._group_of]

"""When DEP acts and when the policy does: one switch for all environments."""

from typing import NamedTuple

import numpy as np

from sb3_qflex.dep.config import DEPConfig

# Where the authors' counter starts: no intervention is under way.
_NO_INTERVENTION = 500


class Turn(NamedTuple):
    """What DEP does in a vector step: whether it takes the sensors in, and whether it acts on them."""

    updates: bool
    acts: bool


class Switch:
    """What decides about the next vector step."""

    def __init__(self) -> None:
        # Environment steps of the model's life: unlike num_timesteps it is not set back by another learn().
        self.steps = 0
        self.counter = _NO_INTERVENTION

    def decide(
        self, config: DEPConfig, initial_steps: int, n_envs: int, episodes: int, rng: np.random.Generator
    ) -> Turn:
        """
        :param config: Says how
        :param initial_steps: Environment steps in which DEP alone acts
        :param n_envs: Environment steps of a vector step
        :param episodes: Finished episodes of all environments
        :param rng: Draws whether an intervention begins
        :return: What DEP does in this step
        """
        initial = self.steps <= initial_steps
        self.steps += n_envs
        if initial:
            return Turn(updates=True, acts=True)
        if config.switching == "initial only" or _is_test_episode(config, episodes):
            return Turn(updates=False, acts=False)
        acts = self.counter <= config.intervention_length
        if not acts and rng.random() < config.intervention_proba:
            self.counter = 0
        self.counter += 1
        return Turn(updates=True, acts=acts)

    def is_over(self, config: DEPConfig, initial_steps: int) -> bool:
        """
        :param config: Says how
        :param initial_steps: As in :meth:`decide`
        :return: Whether DEP will never act again
        """
        return config.switching == "initial only" and self.steps > initial_steps


def _is_test_episode(config: DEPConfig, episodes: int) -> bool:
    return config.test_episode_every is not None and episodes % config.test_episode_every == 0

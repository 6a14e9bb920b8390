"""Diffusion Policy Mirror Descent: what differs from SDAC."""

from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import GymEnv, ReplayBufferSamples, Schedule

from sb3_qflex.common import options
from sb3_qflex.dpmd.objectives import NORMALISATIONS, mirror_goal, moved_statistics
from sb3_qflex.sdac.policies import SDACPolicy
from sb3_qflex.sdac.sdac import SDAC


class DPMD(SDAC):
    """
    Diffusion Policy Mirror Descent (DPMD): a diffusion policy learns to denoise its own actions, weighted by exp(Q) of
    a normalised Q. A sibling of :class:`~sb3_qflex.sdac.sdac.SDAC` at two thirds of its cost.
    Paper: https://arxiv.org/abs/2502.00361 (ICML 2025)

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of SDACPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: learning rate of critics and, at first, of the noise predictor
    :param normalise: how Q becomes a weight: "standard" for (q - m) / S with running mean m and deviation S, or
        "reference" for q - m / S, as the authors' code has it
    :param critic_steps: steps of the critics' optimizer on the gradient of each update, at least 1; the authors' code
        takes 2
    :param arguments: Of :class:`~sb3_qflex.sdac.sdac.SDAC`; ``reverse_samples`` has no effect
    :param _init_setup_model: Whether or not to build the network at the creation of the instance
    """

    normalise: str = options.choice(NORMALISATIONS)
    critic_steps: int = options.count()

    #: Running mean m and standard deviation S of min Q over the batches of policy updates.
    q_statistics: th.Tensor

    def __init__(
        self,
        policy: str | type[SDACPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        *,
        normalise: str = "standard",
        critic_steps: int = 1,
        _init_setup_model: bool = True,
        **arguments: Any,
    ):
        super().__init__(policy, env, learning_rate, _init_setup_model=False, **arguments)
        self.normalise = normalise
        self.critic_steps = critic_steps
        if _init_setup_model:
            self._setup_model()

    def _create_aliases(self) -> None:
        super()._create_aliases()
        self.q_statistics = th.tensor([0.0, 1.0], device=self.device)

    def gradient_step(self, batch: ReplayBufferSamples) -> None:
        """
        Update critics, noise predictor with the slow copies, and alpha, in this order.

        :param batch: Transitions.
        """
        next_actions = self.policy.explore(batch.next_observations)
        self.update_critics(batch, next_actions)
        if self.is_due(self.policy_delay):
            q_values = self.policy.values(batch.next_observations, next_actions.unsqueeze(1)).squeeze(1)
            self.update_policy(
                mirror_goal(
                    self.policy, batch.next_observations, next_actions, q_values, self.q_statistics, self.normalise
                )
            )
            self.q_statistics = moved_statistics(self.q_statistics, q_values)
        self.update_temperature()

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, variables = super()._get_torch_save_params()
        return state_dicts, [*variables, "q_statistics"]

"""Diffusion policies whose executed actions have noise on top, which a learned temperature alpha scales."""

from typing import Any

import torch as th
from stable_baselines3.common.utils import update_learning_rate

from sb3_qflex.common import options
from sb3_qflex.common.diffusion_networks import Temperature
from sb3_qflex.common.diffusion_policy import DiffusionPolicyBase
from sb3_qflex.common.off_policy import OffPolicyBase


class TemperedPolicy(DiffusionPolicyBase):
    """
    Noise of standard deviation ``noise_scale`` alpha.

    A subclass assigns both options in its constructor, and builds the temperature when they are checked.
    """

    temperature: Temperature

    noise_scale: float = options.number()
    init_alpha: float = options.number(
        above=True, changed=lambda policy, _: policy.temperature.restart(policy.init_alpha)
    )

    def _build_temperature(self) -> None:
        self.temperature = Temperature(self.init_alpha)
        # Its learning rate comes from the algorithm, which alone steps it.
        self.temperature.optimizer = th.optim.Adam(self.temperature.parameters())

    def exploration_std(self) -> th.Tensor:
        """noise_scale alpha, a scalar."""
        return self.noise_scale * self.temperature.alpha()


class Tempered(OffPolicyBase):
    """Learns alpha towards the entropy -``target_entropy_scale`` |A|, every ``alpha_delay`` gradient steps."""

    optimizers = ("actor.optimizer", "critic.optimizer", "temperature.optimizer")
    critic: Any
    temperature: Temperature

    alpha_lr: float = options.number(above=True)
    alpha_delay: int = options.count()
    target_entropy_scale: float = options.number()
    noise_scale: float = options.of_policy()
    init_alpha: float = options.of_policy()

    def learn_temperature(self, entropy: th.Tensor) -> None:
        """
        A step of alpha.

        :param entropy: H of executed actions, in nats, a scalar constant.
        """
        target = -self.target_entropy_scale * self.policy.action_dim
        self.minimise(self.temperature.optimizer, self.temperature.loss(entropy, target), "alpha")

    def _update_learning_rate(self, optimizers: Any) -> None:
        # Of the critics alone: the others have rates of their own.
        super()._update_learning_rate(self.critic.optimizer)
        update_learning_rate(self.temperature.optimizer, self.alpha_lr)

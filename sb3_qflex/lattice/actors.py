"""Actors with Lattice's noise: SAC's, and QFlex's source policy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import Actor
from torch import nn

from sb3_qflex.common.networks import LOG_STD_MAX, LOG_STD_MIN, SourceActor, init_linear
from sb3_qflex.lattice.distributions import (
    Exploration,
    LatticeStateDependentDistribution,
    SquashedLatticeDistribution,
)
from sb3_qflex.lattice.options import LatticeNoise


class HeldNoise:
    """What actors with noise that may be held have in common."""

    noise: LatticeNoise
    action_dist: Any

    @contextmanager
    def exploring(self) -> Iterator[None]:
        """Inside the ``with``, one step of the environments that training collects from."""
        if isinstance(self.action_dist, LatticeStateDependentDistribution):
            with self.action_dist.exploring(self.noise.noise_sample_freq):
                yield
        else:
            yield

    def exploration_state(self) -> dict[str, Any]:
        """What noise is held and since how many steps; empty for the plain form."""
        if not isinstance(self.action_dist, LatticeStateDependentDistribution):
            return {}
        held = self.action_dist.held
        return {"steps": self.action_dist.held_steps, "held": None if held is None else held._asdict()}

    def restore_exploration(self, state: dict[str, Any]) -> None:
        """
        :param state: What :meth:`exploration_state` gave.
        """
        if state:
            held = state["held"]
            self.action_dist.held_steps = state["steps"]
            self.action_dist.held = None if held is None else Exploration(**held)


class LatticeActor(HeldNoise, Actor):
    """
    SAC's actor: W and b are its layer of means, x is the last hidden layer.

    :param noise: Settings of the noise.
    :param arguments: Of SB3's ``Actor``.
    """

    mu: Any
    log_std: Any

    def __init__(self, noise: LatticeNoise, **arguments: Any):
        super().__init__(**arguments)
        self.noise = noise
        n_actions, n_latents = self.mu.weight.shape
        self.action_dist = noise.distribution(n_actions)
        del self.log_std
        if isinstance(self.action_dist, SquashedLatticeDistribution):
            self.log_std = nn.Linear(n_latents, n_actions + n_latents)
        else:
            self.mu, self.log_std = self.action_dist.proba_distribution_net(n_latents, noise.log_std_init)

    def get_action_dist_params(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor, dict[str, th.Tensor]]:
        """
        Mean before the squashing, l or L, and what else the distribution takes.

        :param obs: Observations.
        """
        latent = self.latent_pi(self.extract_features(obs, self.features_extractor))
        mean, weight = self.mu(latent), self.mu.weight
        if isinstance(self.action_dist, SquashedLatticeDistribution):
            return mean, self.log_std(latent).clamp(LOG_STD_MIN, LOG_STD_MAX), {"weight": weight}
        bound = self.noise.mean_bound
        return mean.clamp(-bound, bound), self.log_std, {"latent_sde": latent, "weight": weight}


class LatticeSourceActor(HeldNoise, SourceActor):
    """
    QFlex's source policy: W and b belong to the last layer of its network, x is that layer's input, behind BatchRenorm.

    :param noise: Settings of the noise.
    :param arguments: Of :class:`SourceActor`.
    """

    net: Any
    action_dist: Any

    def __init__(self, noise: LatticeNoise, **arguments: Any):
        super().__init__(**arguments)
        self.noise = noise
        self.action_dist = noise.distribution(self.action_dim)
        n_latents = self.net[-1].in_features
        if isinstance(self.action_dist, SquashedLatticeDistribution):
            # Means and log standard deviations are one layer, as in the base class.
            self.net[-1] = nn.Linear(n_latents, 2 * self.action_dim + n_latents)
        else:
            self.net[-1], self.log_std = self.action_dist.proba_distribution_net(n_latents, noise.log_std_init)
        init_linear(self.net[-1])

    def heads(self, output: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        Mean before the squashing, and l clipped to [-20, 2] or L.

        :param output: Of the network, (B, 2 |A| + n), or (B, |A|) in the state-dependent form.
        """
        mean, log_std = output[:, : self.action_dim], output[:, self.action_dim :]
        if isinstance(self.action_dist, SquashedLatticeDistribution):
            return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        bound = self.noise.mean_bound
        return mean.clamp(-bound, bound), self.log_std

    def get_action_dist_params(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor, dict[str, th.Tensor]]:
        features = self.encode(obs)
        if isinstance(self.action_dist, SquashedLatticeDistribution):
            return *self.heads(self.net(features)), {"weight": self._weight()}
        latent = features
        for layer in list(self.net)[:-1]:
            latent = layer(latent)
        return *self.heads(self.net[-1](latent)), {"weight": self._weight(), "latent_sde": latent}

    def act(self, output: th.Tensor, deterministic: bool) -> th.Tensor:
        """
        Actions from what the network gives; in the state-dependent form deterministic ones alone.

        :param output: Of the network.
        :param deterministic: Whether to take tanh(mean).
        """
        mean, log_std = self.heads(output)
        if deterministic:
            return mean.tanh()
        return self.action_dist.actions_from_params(mean, log_std, weight=self._weight())

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        mean, log_std, more = self.get_action_dist_params(obs)
        return self.action_dist.actions_from_params(mean, log_std, deterministic=deterministic, **more)

    def action_log_prob(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        mean, log_std, more = self.get_action_dist_params(obs)
        return self.action_dist.log_prob_from_params(mean, log_std, **more)

    def _weight(self) -> th.Tensor:
        return self.net[-1].weight[: self.action_dim]

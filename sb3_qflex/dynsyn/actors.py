"""The networks that act on groups: SAC's actor and QFlex's source policy, each with a head of weights."""

from typing import Any, cast

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import Actor
from torch import nn

from sb3_qflex.common.networks import LOG_STD_MAX, LOG_STD_MIN, SourceActor, SquashedGaussian, renorm_mlp
from sb3_qflex.dynsyn.synergies import Synergies
from sb3_qflex.envs.synergies.groups import Groups


class SynergyActor(Actor):
    """
    SAC's actor over groups, whose last hidden layer also says the weights' means.

    With a group for each muscle it is SAC's, to the seed of its weights.

    :param action_space: That of the muscles
    :param groups: See :class:`Synergies`
    :param weight_log_std: See :class:`Synergies`
    :param arguments: Of SB3's ``Actor``
    """

    def __init__(self, action_space: spaces.Box, groups: Groups, weight_log_std: float, **arguments: Any):
        n_groups, action_dim = len(groups), get_action_dim(action_space)
        super().__init__(action_space=spaces.Box(-1.0, 1.0, (n_groups,), np.float32), **arguments)
        self.action_space = action_space
        self.action_dist = SquashedGaussian(n_groups)  # type: ignore[assignment]
        self.synergies = Synergies(groups, weight_log_std)
        n_weights = action_dim - n_groups
        self.weight_mean = nn.Linear(cast(nn.Linear, self.mu).in_features, n_weights) if n_weights else None

    def heads(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """
        Means and clipped log standard deviations of groups, means of weights.

        :param obs: Observations
        :return: Shapes (B, G), (B, G), (B, \\|A\\| - G)
        """
        latent = self.latent_pi(self.extract_features(obs, self.features_extractor))
        mean = self.mu(latent)
        weight_mean = mean[:, :0] if self.weight_mean is None else self.weight_mean(latent)
        return mean, self.log_std(latent).clamp(LOG_STD_MIN, LOG_STD_MAX), weight_mean  # type: ignore[operator]

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self.synergies.act(*self.heads(obs), deterministic)

    def action_log_prob(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        return self.synergies.act_log_prob(*self.heads(obs))

    def exported_net(self) -> nn.Sequential:
        """Its layers with all three heads as one: means, log standard deviations, means of weights."""
        heads: list[Any] = [self.mu, self.log_std, *([] if self.weight_mean is None else [self.weight_mean])]
        weight, bias = (th.cat([getattr(head, name).detach() for head in heads]) for name in ("weight", "bias"))
        joined = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
        joined.load_state_dict({"weight": weight, "bias": bias})
        return nn.Sequential(*self.latent_pi, joined)


class SynergySource(SourceActor):
    """
    QFlex's source policy over groups; its network's outputs are means, log standard deviations, means of weights.

    :param groups: See :class:`Synergies`
    :param weight_log_std: See :class:`Synergies`
    :param arguments: Of :class:`SourceActor`
    """

    def __init__(self, groups: Groups, weight_log_std: float, **arguments: Any):
        super().__init__(**arguments)
        self.synergies = Synergies(groups, weight_log_std)
        if self.synergies.n_weights:
            n_outputs = 2 * len(groups) + self.synergies.n_weights
            self.net = renorm_mlp(
                self.features_dim, n_outputs, self.net_arch, self.activation_fn, self.batch_norm_kwargs
            )

    def heads(self, output: th.Tensor) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """
        Means and clipped log standard deviations of groups, means of weights.

        :param output: Of the network, (B, \\|A\\| + G)
        :return: Shapes (B, G), (B, G), (B, \\|A\\| - G)
        """
        n = self.synergies.n_groups
        mean, log_std, weight_mean = output.tensor_split([n, 2 * n], dim=1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX), weight_mean

    def act(self, output: th.Tensor, deterministic: bool) -> th.Tensor:
        return self.synergies.act(*self.heads(output), deterministic)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self.act(self.net(self.encode(obs)), deterministic)

    def action_log_prob(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        return self.synergies.act_log_prob(*self.heads(self.net(self.encode(obs))))

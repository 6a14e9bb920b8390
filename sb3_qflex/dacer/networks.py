"""DACER's critics: each says the mean and the standard deviation of the return."""

from typing import Any

import torch as th
from torch import nn
from torch.nn import functional as F

from sb3_qflex.common.fast.denoising import is_plain
from sb3_qflex.common.fast.trained_chain import whole_pass
from sb3_qflex.common.networks import Critics, renorm_mlp


class ReturnCritics(Critics):
    """
    One network for each critic on concat(s, a), with outputs mu_i and, through softplus, sigma_i (DSAC-T).

    :param net_arch: Hidden layers.
    :param n_critics: Number of critics.
    :param activation_fn: Activation function.
    :param kwargs: As for :class:`~sb3_qflex.common.networks.StateNetwork`.
    """

    mean_stds: th.Tensor

    def __init__(
        self, net_arch: list[int], n_critics: int = 2, activation_fn: type[nn.Module] = nn.Mish, **kwargs: Any
    ):
        super().__init__([], n_critics, activation_fn, **kwargs)
        inputs = self.features_dim + self.action_dim
        self.q_networks = nn.ModuleList(renorm_mlp(inputs, 2, net_arch, activation_fn, None) for _ in range(n_critics))
        # b_i, running average of sigma_i; zero before the first batch, as no average of them is.
        self.register_buffer("mean_stds", th.zeros(n_critics))

    def returns(self, features: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """
        mu_i and sigma_i at encoded states.

        :param features: Shape (B, features_dim).
        :param actions: Shape (B, |A|).
        :return: Two tensors of shape (n_critics, B).
        """
        x = th.cat([features, actions], dim=1)
        nets: list[Any] = list(self.q_networks)
        outputs = [whole_pass(net, x) if is_plain(net, self) else net(x) for net in nets]
        means, stds = th.stack(outputs).unbind(dim=2)
        return means, F.softplus(stds)

    def q_values(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """
        mu_i at encoded states.

        :param features: Shape (B, features_dim).
        :param actions: Shape (B, |A|).
        :return: Shape (n_critics, B).
        """
        return self.returns(features, actions)[0]

    @th.no_grad()
    def update_mean_stds(self, stds: th.Tensor, rate: float) -> None:
        """
        Move b_i towards the mean of a batch, which is b_i at first.

        :param stds: sigma_i, shape (n_critics, B); ignored where the mean is not finite.
        :param rate: Share of the way.
        """
        newest = stds.mean(dim=1)
        moved = th.where(self.mean_stds == 0.0, newest, th.lerp(self.mean_stds, newest, rate))
        self.mean_stds.copy_(th.where(newest.isfinite(), moved, self.mean_stds))

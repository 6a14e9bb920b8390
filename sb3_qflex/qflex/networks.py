"""The velocity field, beside the source policy and the critics of :mod:`sb3_qflex.common.networks`."""

from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_qflex.common.networks import StateNetwork, renorm_mlp


class VelocityField(StateNetwork):
    """
    The velocity field v(t, s, a) on concat(s, a, t) with a linear output; t is an input like any other.

    :param net_arch: Hidden layers.
    :param activation_fn: Activation function.
    :param batch_norm_kwargs: Options of the BatchRenorm layers; None for none.
    :param kwargs: As for :class:`StateNetwork`.
    """

    def __init__(
        self,
        net_arch: list[int],
        activation_fn: type[nn.Module] = nn.ReLU,
        batch_norm_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        input_dim = self.features_dim + self.action_dim + 1
        self.net = renorm_mlp(input_dim, self.action_dim, net_arch, activation_fn, batch_norm_kwargs)

    def velocity(self, features: th.Tensor, actions: th.Tensor, t: th.Tensor) -> th.Tensor:
        """
        v(t, s, a) at encoded states.

        :param features: Shape (B, features_dim).
        :param actions: Shape (B, |A|).
        :param t: Flow times in [0, 1], shape (B, 1).
        :return: Shape (B, |A|).
        """
        return self.net(th.cat([features, actions, t], dim=1))

    def forward(self, obs: PyTorchObs, actions: th.Tensor, t: th.Tensor) -> th.Tensor:
        return self.velocity(self.encode(obs), actions, t)

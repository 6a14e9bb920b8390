"""FlowRL's networks: the velocity field that acts, and value networks; LayerNorm behind every hidden Linear."""

from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_qflex.common.fast.linear import Linear
from sb3_qflex.common.losses import smallest
from sb3_qflex.common.networks import StateNetwork, init_xavier
from sb3_qflex.flowrl.flow import integrate


def flow_net(input_dim: int, output_dim: int, net_arch: list[int], activation_fn: type[nn.Module]) -> nn.Sequential:
    """
    Linear, LayerNorm, activation for each hidden layer, then a Linear output.

    :param input_dim: Columns of the input.
    :param output_dim: Columns of the output.
    :param net_arch: Width of each hidden layer.
    :param activation_fn: Class of the activation.
    """
    layers: list[nn.Module] = []
    for inputs, width in zip([input_dim, *net_arch], net_arch, strict=False):
        layers += [Linear(inputs, width), nn.LayerNorm(width), activation_fn()]
    return nn.Sequential(*layers, Linear(net_arch[-1], output_dim)).apply(init_xavier)


def value_net(input_dim: int, net_arch: list[int]) -> nn.Sequential:
    """
    Linear and LayerNorm, then Linear, LayerNorm, GELU for each hidden layer, Linear and LayerNorm, and a Linear output.

    :param input_dim: Columns of the input.
    :param net_arch: Widths of the layers with GELU; the layers around them are as wide as the first and the last.
    """
    layers: list[nn.Module] = [Linear(input_dim, net_arch[0]), nn.LayerNorm(net_arch[0])]
    for inputs, width in zip([net_arch[0], *net_arch], net_arch, strict=False):
        layers += [Linear(inputs, width), nn.LayerNorm(width), nn.GELU()]
    last = net_arch[-1]
    layers += [Linear(last, last), nn.LayerNorm(last), Linear(last, 1)]
    return nn.Sequential(*layers).apply(init_xavier)


class FlowActor(StateNetwork):
    """
    The velocity field v(s, a, t) on concat(s, a, t) with a linear output, and the actions that it carries a_0 to.

    :param net_arch: Hidden layers, at least one.
    :param activation_fn: Activation function.
    :param kwargs: As for :class:`~sb3_qflex.common.networks.StateNetwork`.
    """

    def __init__(self, net_arch: list[int], activation_fn: type[nn.Module] = nn.ELU, **kwargs: Any):
        super().__init__(**kwargs)
        self.net = flow_net(self.features_dim + self.action_dim + 1, self.action_dim, net_arch, activation_fn)

    def velocity(self, features: th.Tensor, actions: th.Tensor, t: th.Tensor) -> th.Tensor:
        """
        v(s, a, t) at encoded states.

        :param features: Shape (B, features_dim).
        :param actions: Shape (B, |A|).
        :param t: Times in [0, 1], shape (B, 1).
        :return: Shape (B, |A|).
        """
        return self.net(th.cat([features, actions, t], dim=1))

    def act(self, features: th.Tensor, start: th.Tensor, n_steps: int) -> th.Tensor:
        """
        tanh(a_1), with a_1 the end of the flow from a_0.

        :param features: Shape (B, features_dim).
        :param start: a_0, shape (B, |A|).
        :param n_steps: Midpoint steps, at least 1.
        :return: Shape (B, |A|), in [-1, 1].
        """

        def velocity(t: float, actions: th.Tensor) -> th.Tensor:
            return self.velocity(features, actions, actions.new_full((len(actions), 1), t))

        return integrate(velocity, start, n_steps).tanh()

    def forward(self, obs: PyTorchObs, start: th.Tensor, n_steps: int = 1) -> th.Tensor:
        return self.act(self.encode(obs), start, n_steps)


class ValueNetworks(StateNetwork):
    """
    Networks Q_1 ... Q_n on concat(s, a).

    :param net_arch: See :func:`value_net`.
    :param n_critics: Number of networks.
    :param kwargs: As for :class:`~sb3_qflex.common.networks.StateNetwork`.
    """

    def __init__(self, net_arch: list[int], n_critics: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        self.q_networks = nn.ModuleList(
            value_net(self.features_dim + self.action_dim, net_arch) for _ in range(n_critics)
        )

    def q_values(self, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """
        :param obs: s.
        :param actions: a, shape (B, |A|).
        :return: Q_i(s, a), shape (n_critics, B).
        """
        x = th.cat([self.encode(obs), actions], dim=1)
        return th.stack([q_network(x).squeeze(1) for q_network in self.q_networks])

    def min_q(self, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """
        :param obs: s.
        :param actions: a, shape (B, |A|).
        :return: min_i Q_i(s, a), shape (B,).
        """
        return smallest(self.q_values(obs, actions))

    def forward(self, obs: PyTorchObs, actions: th.Tensor) -> tuple[th.Tensor, ...]:
        """As in SB3, one (B, 1) tensor for each network."""
        return tuple(q.unsqueeze(1) for q in self.q_values(obs, actions))


class StateValue(StateNetwork):
    """
    V on the state alone.

    :param net_arch: See :func:`value_net`.
    :param kwargs: As for :class:`~sb3_qflex.common.networks.StateNetwork`.
    """

    def __init__(self, net_arch: list[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.net = value_net(self.features_dim, net_arch)

    def forward(self, obs: PyTorchObs) -> th.Tensor:
        """
        :param obs: s.
        :return: V(s), shape (B,).
        """
        return self.net(self.encode(obs)).squeeze(1)

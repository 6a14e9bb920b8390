"""What diffusion policies are made of beside plain critics: the noise predictor and the temperature."""

import math
from collections.abc import Callable
from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_qflex.common.diffusion import EMBEDDING_DIM, NoiseAt, embed_time, repeat_rows
from sb3_qflex.common.networks import StateNetwork, init_linear, renorm_mlp


class SinusoidalTime(nn.Module):
    """
    :func:`~sb3_qflex.common.diffusion.embed_time`, then Linear 32, activation, Linear 16.

    :param activation_fn: Activation function.
    """

    dim = EMBEDDING_DIM

    def __init__(self, activation_fn: type[nn.Module] = nn.Mish):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(EMBEDDING_DIM, 2 * EMBEDDING_DIM), activation_fn(), nn.Linear(2 * EMBEDDING_DIM, EMBEDDING_DIM)
        )
        self.net.apply(init_linear)

    def forward(self, t: th.Tensor) -> th.Tensor:
        """
        :param t: Steps, shape (B,).
        :return: Shape (B, 16).
        """
        return self.net(embed_time(t).to(next(self.parameters()).dtype))


class NoisePredictor(StateNetwork):
    """
    eps(s, x, t) on concat(s, x, embedding of t) with a linear output.

    :param net_arch: Hidden layers.
    :param activation_fn: Activation function.
    :param time: Makes the module that embeds steps, (B,) -> (B, its ``dim``), from the activation function.
    :param kwargs: As for :class:`StateNetwork`.
    """

    def __init__(
        self,
        net_arch: list[int],
        activation_fn: type[nn.Module] = nn.Mish,
        time: Callable[[type[nn.Module]], Any] = SinusoidalTime,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.time = time(activation_fn)
        self.net = renorm_mlp(
            self.features_dim + self.action_dim + self.time.dim, self.action_dim, net_arch, activation_fn, None
        )

    def noise(self, features: th.Tensor, x: th.Tensor, t: th.Tensor) -> th.Tensor:
        """
        eps at encoded states.

        :param features: Shape (B, features_dim).
        :param x: Noisy actions, shape (B, |A|).
        :param t: Steps, integers, shape (B,).
        :return: Shape (B, |A|).
        """
        return self.net(th.cat([features, x, self.time(t)], dim=1))

    def forward(self, obs: PyTorchObs, x: th.Tensor, t: th.Tensor) -> th.Tensor:
        return self.noise(self.encode(obs), x, t)

    def at(self, features: th.Tensor, n_particles: int = 1) -> NoiseAt:
        """
        The noise predictor at given states, as the chains take it: the readable definition.

        :param features: Shape (B, features_dim).
        :param n_particles: N; rows of x are states with their particles, (B N, |A|).
        """
        rows = repeat_rows(features, n_particles)
        return lambda x, t: self.noise(rows, x, th.full((len(x),), t, device=x.device))


class Temperature(nn.Module):
    """
    alpha = exp(log_alpha), learned by an optimizer of its own towards a target entropy.

    :param initial: alpha at first, positive.
    """

    optimizer: th.optim.Optimizer

    def __init__(self, initial: float):
        super().__init__()
        self.log_alpha = nn.Parameter(th.tensor(math.log(initial), dtype=th.float32))

    @th.no_grad()
    def restart(self, initial: float) -> None:
        """
        Go on as a new one would.

        :param initial: alpha from now on, positive.
        """
        self.log_alpha.fill_(math.log(initial))
        self.optimizer.state.clear()

    def alpha(self) -> th.Tensor:
        """alpha, a scalar constant."""
        return self.log_alpha.detach().exp()

    def loss(self, entropy: th.Tensor | float, target_entropy: float) -> th.Tensor:
        """
        log alpha (H - target): alpha falls while H is above its target.

        :param entropy: H, a constant.
        :param target_entropy: Its target.
        """
        return self.log_alpha * (entropy - target_entropy)

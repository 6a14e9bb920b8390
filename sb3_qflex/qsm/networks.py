"""What is QSM's own in its networks: a learnable embedding of time, and one that says nothing."""

import math

import torch as th
from torch import nn

#: Standard deviation of the frequencies at first.
_FREQUENCY_STD = 0.2


class FourierTime(nn.Module):
    """
    [cos, sin](2 pi t W) with learnable frequencies W ~ N(0, 0.2^2), then Linear, activation, Linear; t is the step's
    number itself.

    :param n_features: Cosines and sines together, an even number; the two layers are twice as wide.
    :param activation_fn: Activation function.
    """

    def __init__(self, n_features: int, activation_fn: type[nn.Module]):
        super().__init__()
        self.dim = 2 * n_features
        self.frequencies = nn.Parameter(_FREQUENCY_STD * th.randn(n_features // 2))
        self.net = nn.Sequential(nn.Linear(n_features, self.dim), activation_fn(), nn.Linear(self.dim, self.dim))

    def forward(self, t: th.Tensor) -> th.Tensor:
        """
        :param t: Steps, shape (B,).
        :return: Shape (B, dim).
        """
        angles = 2.0 * math.pi * t.to(self.frequencies.dtype).unsqueeze(1) * self.frequencies
        return self.net(th.cat([angles.cos(), angles.sin()], dim=1))


class NoTime(nn.Module):
    """No columns: of a noise predictor it makes a score phi(s, a) that is the same at all steps."""

    dim = 0

    def forward(self, t: th.Tensor) -> th.Tensor:
        """
        :param t: Steps, shape (B,).
        :return: Shape (B, 0).
        """
        return th.empty(len(t), 0, device=t.device)

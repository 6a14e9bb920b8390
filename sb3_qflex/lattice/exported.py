"""Lattice's exported form: its deterministic action."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch as th
from stable_baselines3.common.policies import BaseModel
from torch import nn

from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export.heads import SquashedGaussianHead

if TYPE_CHECKING:
    from sb3_qflex.export.graph import Graph  # onnx is optional


def refuse_noise(takes_noise: bool) -> None:
    """An UnsupportedError if the noise is to be exported."""
    if takes_noise:
        raise UnsupportedError("Lattice's noise has no exported form: leave out noise, for deterministic actions.")


class LatticeHead(SquashedGaussianHead):
    """
    tanh of the mean within its bounds.

    :param actor: The policy.
    :param net: Its layers behind the features extractor, with means as the first outputs.
    :param action_dim: |A|.
    :param mean_bound: Largest size of the mean.
    :param takes_noise: Refused: samples are not exported.
    :raises UnsupportedError: With noise, and for networks without exported form.
    """

    def __init__(
        self, actor: BaseModel, net: nn.Sequential, action_dim: int, mean_bound: float, takes_noise: bool = False
    ):
        refuse_noise(takes_noise)
        super().__init__(actor, net, action_dim)
        self.bound = math.tanh(mean_bound)

    def forward(self, *inputs: th.Tensor) -> th.Tensor:
        return super().forward(*inputs).clamp(-self.bound, self.bound)

    def write(self, graph: "Graph", *inputs: str) -> str:
        bounds = (graph.constant(np.float32(bound)) for bound in (-self.bound, self.bound))
        return graph.add("Clip", super().write(graph, *inputs), *bounds)

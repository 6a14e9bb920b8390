"""The exported form of a policy over groups."""

from typing import TYPE_CHECKING

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel
from torch import nn

from sb3_qflex.common.networks import LOG_STD_MAX, LOG_STD_MIN
from sb3_qflex.dynsyn.synergies import MAX_AMPLITUDE, Synergies
from sb3_qflex.export.heads import Head, MeanHead
from sb3_qflex.export.networks import ExportedMLP

if TYPE_CHECKING:
    from sb3_qflex.export.graph import Graph  # onnx is optional


class ExportedSynergies(nn.Module):
    """
    Actions of muscles from their groups' actions and the means of their weights, without a box to stay in.

    :param synergies: With the A of this moment
    """

    owners: th.Tensor
    order: th.Tensor

    def __init__(self, synergies: Synergies):
        super().__init__()
        self.amplitude = float(synergies.amplitude)
        self.register_buffer("owners", synergies.owners.cpu().clone())
        self.register_buffer("order", synergies.order.cpu().clone())

    def forward(self, group_actions: th.Tensor, weight_means: th.Tensor) -> th.Tensor:
        weights = 1.0 + (MAX_AMPLITUDE * weight_means.tanh()).clamp(-self.amplitude, self.amplitude)
        return th.cat([group_actions, group_actions[:, self.owners] * weights], dim=1)[:, self.order]

    def write(self, graph: "Graph", group_actions: str, weight_means: str) -> str:
        """The same as ONNX nodes."""
        scaled = graph.add("Mul", graph.add("Tanh", weight_means), graph.constant(np.float32(MAX_AMPLITUDE)))
        clipped = graph.add("Clip", scaled, *_bounds(graph, -self.amplitude, self.amplitude))
        weights = graph.add("Add", clipped, graph.constant(np.float32(1.0)))
        of_groups = graph.add("Gather", group_actions, graph.constant(self.owners), axis=1)
        joined = graph.add("Concat", group_actions, graph.add("Mul", of_groups, weights), axis=1)
        return graph.add("Gather", joined, graph.constant(self.order), axis=1)


class SynergyHead(Head):
    """
    Groups' actions and weights from features; with noise as an input, whose first G columns are the groups'.

    :param actor: The policy
    :param net: Its layers; outputs are means, log standard deviations, means of weights
    :param synergies: With the A of this moment
    :param takes_noise: Whether it samples
    :raises UnsupportedError: For networks without exported form
    """

    def __init__(self, actor: BaseModel, net: nn.Sequential, synergies: Synergies, takes_noise: bool):
        super().__init__(actor, noise_dim=len(synergies.order) if takes_noise else 0)
        self.n_groups, self.n_weights = synergies.n_groups, synergies.n_weights
        self.weight_std = synergies.weight_std
        self.mlp, self.synergies = ExportedMLP(net), ExportedSynergies(synergies)

    def forward(self, *inputs: th.Tensor) -> th.Tensor:
        n = self.n_groups
        output = self.mlp(inputs[0])
        mean, log_std, weight_mean = output[:, :n], output[:, n : 2 * n], output[:, 2 * n :]
        if self.noise_dim:
            mean = mean + log_std.clamp(LOG_STD_MIN, LOG_STD_MAX).exp() * inputs[1][:, :n]
            weight_mean = weight_mean + self.weight_std * inputs[1][:, n:]
        # In the box already here: a flow may start from it.
        return self.synergies(mean.tanh(), weight_mean).clamp(-1.0, 1.0)

    def write(self, graph: "Graph", *inputs: str) -> str:
        sizes = graph.constant(np.array([self.n_groups, self.n_groups, self.n_weights]))
        mean, log_std, weight_mean = graph.add_many(
            "Split", self.mlp.write(graph, inputs[0]), sizes, n_outputs=3, axis=1
        )
        if self.noise_dim:
            parts = graph.constant(np.array([self.n_groups, self.n_weights]))
            noise, weight_noise = graph.add_many("Split", inputs[1], parts, n_outputs=2, axis=1)
            std = graph.add("Exp", graph.add("Clip", log_std, *_bounds(graph, LOG_STD_MIN, LOG_STD_MAX)))
            mean = graph.add("Add", mean, graph.add("Mul", std, noise))
            scaled = graph.add("Mul", weight_noise, graph.constant(np.float32(self.weight_std)))
            weight_mean = graph.add("Add", weight_mean, scaled)
        return graph.clamp(self.synergies.write(graph, graph.add("Tanh", mean), weight_mean))


class SynergyMeanHead(MeanHead):
    """
    The same of DynSynPPO, whose Gaussian is not squashed and has deviations that are no function of the state.

    :param policy: The policy
    :param synergies: With the A of this moment
    :param log_std: Log standard deviation of each latent number, shape (\\|A\\|,)
    :param takes_noise: Whether it samples; noise then has a column for each latent number
    :raises UnsupportedError: For networks without exported form
    """

    std: th.Tensor

    def __init__(self, policy: ActorCriticPolicy, synergies: Synergies, log_std: th.Tensor, takes_noise: bool):
        super().__init__(policy, noise_dim=len(log_std) if takes_noise else 0)
        self.sizes = [synergies.n_groups, synergies.n_weights]
        self.synergies = ExportedSynergies(synergies)
        self.register_buffer("std", log_std.detach().cpu().exp())

    def forward(self, *inputs: th.Tensor) -> th.Tensor:
        latent = super().forward(*inputs)
        if self.noise_dim:
            latent = latent + self.std * inputs[1]
        return self.synergies(*latent.split(self.sizes, dim=1))

    def write(self, graph: "Graph", *inputs: str) -> str:
        latent = super().write(graph, *inputs)
        if self.noise_dim:
            scaled = graph.add("Mul", inputs[1], graph.constant(self.std.numpy()))
            latent = graph.add("Add", latent, scaled)
        sizes = graph.constant(np.array(self.sizes))
        return self.synergies.write(graph, *graph.add_many("Split", latent, sizes, n_outputs=2, axis=1))


def _bounds(graph: "Graph", low: float, high: float) -> tuple[str, str]:
    return graph.constant(np.float32(low)), graph.constant(np.float32(high))

"""From features to actions: what the exported forms of different policies do not share."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from sb3_qflex.common.networks import LOG_STD_MAX, LOG_STD_MIN, SourceActor
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export.networks import ExportedMLP, check_sequence, refuse_hooks

if TYPE_CHECKING:
    from sb3_qflex.export.graph import Graph  # onnx is optional


class Head(nn.Module, ABC):
    """
    A pure function from features, and noise where it takes any, to actions, which are brought into the Box afterwards:
    scaled to it from [-1, 1], or only clipped where ``is_scaled`` is False.

    It is written twice, by torch's operations and by ONNX's nodes, with the same inputs: the features of each of its
    networks, then the noise. It copies the weights that it needs.

    :param networks: The networks that act. Their features extractors are exported with the head.
    :param noise_dim: Columns of the standard normal noise that it takes; 0 for none.
    :raises UnsupportedError: If a network has forward hooks.
    """

    is_scaled: ClassVar[bool] = True

    def __init__(self, *networks: BaseModel, noise_dim: int = 0):
        super().__init__()
        for network in networks:
            refuse_hooks(network)
        # A tuple, as which they are no part of this module.
        self.extractors: tuple[BaseFeaturesExtractor, ...] = tuple(
            cast(BaseFeaturesExtractor, one.features_extractor) for one in networks
        )
        self.noise_dim = noise_dim
        #: What the metadata of a file says about it; text, or what JSON knows.
        self.metadata: dict[str, Any] = {}

    @abstractmethod
    def forward(self, *inputs: th.Tensor) -> th.Tensor:
        """
        :param inputs: Features of each network, (B, F); then the noise, (B, noise_dim), if it takes any.
        :return: Shape (B, |A|).
        """

    @abstractmethod
    def write(self, graph: "Graph", *inputs: str) -> str:
        """
        The same as ONNX nodes.

        :param graph: Where to add them.
        :param inputs: Names of the inputs.
        :return: Name of the output.
        """


class TanhHead(Head):
    """
    tanh of what a network says: a deterministic policy.

    :param actor: The network that acts.
    :param net: Its layers behind the features extractor, see :func:`~sb3_qflex.export.networks.fold_layers`, with or
        without the tanh at the end.
    :param takes_noise: Refused: nothing is sampled.
    :raises UnsupportedError: For other layers, and with noise.
    """

    def __init__(self, actor: BaseModel, net: nn.Sequential, takes_noise: bool = False):
        if takes_noise:
            raise UnsupportedError("This policy is deterministic and samples nothing: leave out noise.")
        super().__init__(actor)
        check_sequence(net)
        body = cast(nn.Sequential, net[:-1]) if type(net[-1]) is nn.Tanh else net
        self.mlp = ExportedMLP(body)

    def forward(self, *inputs: th.Tensor) -> th.Tensor:
        return self.mlp(*inputs).tanh()

    def write(self, graph: "Graph", *inputs: str) -> str:
        return graph.add("Tanh", self.mlp.write(graph, *inputs))


class MeanHead(Head):
    """
    The mean of SB3's actor-critic policies, in the units of the environment: a deterministic policy.

    :param policy: The policy, with a Gaussian whose mean is that of its ``action_net``.
    :param noise_dim: Columns of the standard normal noise that a subclass takes.
    :raises UnsupportedError: For networks without exported form.
    """

    is_scaled = False

    def __init__(self, policy: ActorCriticPolicy, noise_dim: int = 0):
        super().__init__(policy, noise_dim=noise_dim)
        self.mlp = ExportedMLP(nn.Sequential(*policy.mlp_extractor.policy_net, cast(nn.Linear, policy.action_net)))

    def forward(self, *inputs: th.Tensor) -> th.Tensor:
        return self.mlp(inputs[0])

    def write(self, graph: "Graph", *inputs: str) -> str:
        return self.mlp.write(graph, inputs[0])


class SquashedGaussianHead(Head):
    """
    tanh(mean), or tanh(mean + std noise) with the noise as an input.

    :param actor: The Gaussian policy.
    :param net: Its layers behind the features extractor, with means and log standard deviations as outputs.
    :param action_dim: |A|.
    :param takes_noise: Whether it samples.
    :raises UnsupportedError: For networks without exported form.
    """

    def __init__(self, actor: BaseModel, net: nn.Sequential, action_dim: int, takes_noise: bool = False):
        super().__init__(actor, noise_dim=action_dim if takes_noise else 0)
        self.mlp = ExportedMLP(net, rows=slice(None) if takes_noise else slice(action_dim))

    def forward(self, *inputs: th.Tensor) -> th.Tensor:
        output = self.mlp(inputs[0])
        if not self.noise_dim:
            return output.tanh()
        mean, log_std = SourceActor.split_heads(output)
        return (mean + log_std.exp() * inputs[1]).tanh()

    def write(self, graph: "Graph", *inputs: str) -> str:
        output = self.mlp.write(graph, inputs[0])
        if self.noise_dim:
            mean, log_std = graph.add_many("Split", output, n_outputs=2, axis=1)
            bounds = (graph.constant(np.float32(bound)) for bound in (LOG_STD_MIN, LOG_STD_MAX))
            std = graph.add("Exp", graph.add("Clip", log_std, *bounds))
            output = graph.add("Add", mean, graph.add("Mul", std, inputs[1]))
        return graph.add("Tanh", output)

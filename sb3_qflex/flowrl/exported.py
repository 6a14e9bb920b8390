"""What of an exported policy is FlowRL's own: midpoint steps through a network with LayerNorm."""

from typing import TYPE_CHECKING

import numpy as np
import torch as th
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from sb3_qflex.common.fast.linear import Linear
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export.heads import Head
from sb3_qflex.export.networks import ACTIVATIONS, write_activation
from sb3_qflex.flowrl.flow import integrate
from sb3_qflex.flowrl.networks import FlowActor

if TYPE_CHECKING:
    from sb3_qflex.export.graph import Graph  # onnx is optional


class FlowRLHead(Head):
    """
    tanh of the end of the flow, from a_0 = 0 or from standard normal noise, which is clipped to [-1, 1].

    :param actor: The velocity field.
    :param flow_steps: Midpoint steps, at least 1.
    :param takes_noise: Whether a_0 is sampled, with noise as an input.
    :raises UnsupportedError: For layers without exported form.
    """

    def __init__(self, actor: FlowActor, flow_steps: int, takes_noise: bool):
        super().__init__(actor, noise_dim=actor.action_dim if takes_noise else 0)
        self.action_dim = actor.action_dim
        self.flow_steps = flow_steps
        self.net = nn.Sequential(*map(_copy, actor.net))
        self.metadata = {"flow_steps": flow_steps}

    def forward(self, *inputs: th.Tensor) -> th.Tensor:
        features = inputs[0]
        # Times zero, since tracing would freeze the size of a batch of new zeros.
        like = features[:, :1] * 0.0
        start = inputs[1].clamp(-1.0, 1.0) if self.noise_dim else like.expand(-1, self.action_dim)
        return integrate(
            lambda t, actions: self.net(th.cat([features, actions, like + t], dim=1)), start, self.flow_steps
        ).tanh()

    def write(self, graph: "Graph", *inputs: str) -> str:
        features = inputs[0]
        column = graph.add("Slice", features, *(graph.constant(np.array([n])) for n in (0, 1, 1)))
        zero = graph.add("Mul", column, graph.constant(np.float32(0.0)))
        start = graph.clamp(inputs[1]) if self.noise_dim else graph.add("Concat", *[zero] * self.action_dim, axis=1)
        layers = [_constants(graph, layer) for layer in self.net]

        def moved(actions: str, t: float, velocity_at: str, step: float) -> str:
            time = graph.add("Add", zero, graph.constant(np.float32(t)))
            z = graph.add("Concat", features, velocity_at, time, axis=1)
            for layer, names in zip(self.net, layers, strict=True):
                z = _write_layer(graph, layer, names, z)
            return graph.add("Add", actions, graph.add("Mul", z, graph.constant(np.float32(step))))

        dt, actions = 1.0 / self.flow_steps, start
        for k in range(self.flow_steps):
            middle = moved(actions, k * dt, actions, 0.5 * dt)
            actions = moved(actions, (k + 0.5) * dt, middle, dt)
        return graph.add("Tanh", actions)


def _copy(layer: nn.Module) -> nn.Module:
    """A layer of its own with the weights of this moment, in float32."""
    kind = type_before_parametrizations(layer)
    copy: nn.Module
    if isinstance(layer, nn.Linear) and kind in (Linear, nn.Linear):
        copy = nn.Linear(layer.in_features, layer.out_features)
    elif isinstance(layer, nn.LayerNorm) and kind is nn.LayerNorm:
        copy = nn.LayerNorm(layer.normalized_shape, layer.eps)
    elif kind in ACTIVATIONS.values():
        return layer
    else:
        raise UnsupportedError(
            f"A velocity field with {layer} cannot be exported: it has to be of Linear, LayerNorm and activations "
            f"({', '.join(ACTIVATIONS)})."
        )
    copy.load_state_dict({name: getattr(layer, name).detach().float() for name in ("weight", "bias")})
    return copy.requires_grad_(False)


def _constants(graph: "Graph", layer: nn.Module) -> tuple[str, ...]:
    """Names of its weights, stored once for all steps."""
    if isinstance(layer, nn.Linear):
        return graph.constant(layer.weight.t()), graph.constant(layer.bias)
    if isinstance(layer, nn.LayerNorm):
        return graph.constant(layer.weight), graph.constant(layer.bias)
    return ()


def _write_layer(graph: "Graph", layer: nn.Module, names: tuple[str, ...], z: str) -> str:
    if isinstance(layer, nn.Linear):
        return graph.add("Gemm", z, *names)
    if isinstance(layer, nn.LayerNorm):
        return graph.add("LayerNormalization", z, *names, axis=-1, epsilon=layer.eps)
    return write_activation(graph, layer, z)

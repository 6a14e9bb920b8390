"""The exported form of policies that act by a chain of denoising steps: the chain unrolled, and the best of N."""

from typing import TYPE_CHECKING, cast

import numpy as np
import torch as th
from torch import nn

from sb3_qflex.common.diffusion import best_of
from sb3_qflex.common.diffusion_policy import DiffusionPolicyBase
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export.heads import Head
from sb3_qflex.export.networks import ExportedMLP

if TYPE_CHECKING:
    from sb3_qflex.export.graph import Graph  # onnx is optional


class DiffusionHead(Head):
    """
    The deterministic action: T steps from the policy's fixed noise for each of N particles, then the best one.

    A policy with another chain overrides :meth:`step` and :meth:`write_step`.

    :param policy: The policy.
    :param takes_noise: Refused: the chains take T N |A| numbers.
    :raises UnsupportedError: With noise, and for networks without exported form.
    """

    noise: th.Tensor
    time_biases: th.Tensor

    def __init__(self, policy: DiffusionPolicyBase, takes_noise: bool = False):
        if takes_noise:
            raise UnsupportedError(
                "The chains of this policy are exported with its fixed noise, deterministic: leave out noise."
            )
        actor, critic = policy.behaviour, policy.critic
        self_evaluates = policy.n_particles > 1
        super().__init__(actor, *([critic] if self_evaluates else []))
        self.steps = policy.schedule.steps
        self.start_scale = policy.start_scale
        self.denoiser = ExportedMLP(actor.net, actor.features_dim)
        nets = cast(list[nn.Sequential], list(critic.q_networks)) if self_evaluates else []
        self.critics = nn.ModuleList(ExportedMLP(net, critic.features_dim) for net in nets)
        with th.no_grad():
            times = actor.time(th.arange(policy.diffusion_steps, device=policy.device)).to(self.denoiser.input_weight)
        n_actions = policy.action_dim
        self.register_buffer("time_biases", times @ self.denoiser.input_weight[:, n_actions:].t())
        self.denoiser.input_weight = self.denoiser.input_weight[:, :n_actions]
        self.register_buffer("noise", policy.fixed_noise().squeeze(1).clone())
        self.metadata = {"diffusion_steps": policy.diffusion_steps, "n_particles": policy.n_particles}

    def forward(self, *inputs: th.Tensor) -> th.Tensor:
        hoisted = self.denoiser.hoist(inputs[0])
        x = self.start_scale * self.noise[0]
        for t in reversed(range(len(self.steps))):
            x = self.step(x, _at_particles(self.denoiser, hoisted + self.time_biases[t], x), t)
        if not len(self.critics):
            return x.squeeze(1)
        values = [_at_particles(one, cast(ExportedMLP, one).hoist(inputs[1]), x).squeeze(2) for one in self.critics]
        return best_of(x, th.stack(values).amin(dim=0))

    def noise_scale(self, t: int) -> float:
        """
        :param t: Step, at least 1.
        :return: Standard deviation of the noise behind it.
        """
        return self.steps[t]["var"] ** 0.5

    def noise_behind(self, t: int) -> th.Tensor:
        """
        :param t: Step.
        :return: Standard normal noise that follows it, shape (N, |A|).
        """
        return self.noise[len(self.steps) - t]

    def step(self, x: th.Tensor, eps: th.Tensor, t: int) -> th.Tensor:
        """
        One step of the chain, with the noise behind it.

        :param x: Shape (B or 1, N, |A|).
        :param eps: Predicted noise, (B, N, |A|).
        :param t: Step.
        """
        c = self.steps[t]
        x = c["c1"] * (x * c["signal_inverse"] - eps * c["noise_ratio"]).clamp(-1.0, 1.0) + c["c2"] * x
        return x + self.noise_scale(t) * self.noise_behind(t) if t > 0 else x

    def write(self, graph: "Graph", *inputs: str) -> str:
        n_particles, n_actions = self.noise.shape[1:]
        shape = graph.constant(np.array([-1, n_particles, n_actions]))
        hoisted = self.denoiser.write_hoist(graph, inputs[0])
        weights = graph.constant(self.denoiser.input_weight.t()), self.denoiser.write_layers(graph)
        x = graph.constant(self.start_scale * self.noise[0])
        for t in reversed(range(len(self.steps))):
            state = graph.add("Add", hoisted, graph.constant(self.time_biases[t]))
            eps = graph.add("Reshape", _write_at_particles(graph, self.denoiser, state, x, weights), shape)
            x = self.write_step(graph, x, eps, t)
        if not len(self.critics):
            return graph.add("Squeeze", x, graph.constant(np.array([1])))
        return self._write_best(graph, inputs[1], x)

    def write_step(self, graph: "Graph", x: str, eps: str, t: int) -> str:
        """As :meth:`step`, from and to the names of values."""
        c = {name: graph.constant(np.float32(value)) for name, value in self.steps[t].items()}
        start = graph.add("Sub", graph.add("Mul", x, c["signal_inverse"]), graph.add("Mul", eps, c["noise_ratio"]))
        x = graph.add("Add", graph.add("Mul", graph.clamp(start), c["c1"]), graph.add("Mul", x, c["c2"]))
        return graph.add("Add", x, graph.constant(self.noise_scale(t) * self.noise_behind(t))) if t > 0 else x

    def _write_best(self, graph: "Graph", features: str, x: str) -> str:
        shape = graph.constant(np.array([-1, self.noise.shape[1]]))
        values = []
        for critic in cast(list[ExportedMLP], list(self.critics)):
            weights = graph.constant(critic.input_weight.t()), critic.write_layers(graph)
            q = _write_at_particles(graph, critic, critic.write_hoist(graph, features), x, weights)
            values.append(graph.add("Reshape", q, shape))
        smallest = graph.add("Min", *values) if len(values) > 1 else values[0]
        return graph.add("GatherND", x, graph.add("ArgMax", smallest, axis=1, keepdims=1), batch_dims=1)


def _at_particles(net: nn.Module, hoisted: th.Tensor, x: th.Tensor) -> th.Tensor:
    """Outputs (B, N, ...) of a network whose part of the state is given, (B, width), for particles x."""
    net = cast(ExportedMLP, net)
    return net.propagate(hoisted.unsqueeze(1) + x @ net.input_weight.t())


def _write_at_particles(
    graph: "Graph", net: ExportedMLP, hoisted: str, x: str, weights: tuple[str, list[tuple[str, str]]]
) -> str:
    """As :func:`_at_particles`, but with states and particles as rows, (B N, ...)."""
    width = net.input_weight.shape[0]
    action_weight, layers = weights
    state = graph.add("Unsqueeze", hoisted, graph.constant(np.array([1])))
    z = graph.add("Add", state, graph.add("MatMul", x, action_weight))
    return net.write_propagate(graph, graph.add("Reshape", z, graph.constant(np.array([-1, width]))), layers)

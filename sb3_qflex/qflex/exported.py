"""What of an exported policy is QFlex's own: the source action, and K unrolled flow steps behind it."""

from typing import TYPE_CHECKING

import numpy as np
import torch as th

from sb3_qflex.common import validation
from sb3_qflex.common.networks import SourceActor
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export.heads import Head
from sb3_qflex.export.networks import ExportedMLP
from sb3_qflex.qflex.networks import VelocityField

if TYPE_CHECKING:
    from sb3_qflex.export.graph import Graph  # onnx is optional


class FlowHead(Head):
    """
    a(0) of the source policy, then K Euler steps.

    The step size dt is folded into the field's last layer, and each time t = k dt into a bias of its first layer.

    :param actor: The source policy.
    :param source: What makes a(0) of its features.
    :param field: The velocity field.
    :param flow_steps: K.
    :raises UnsupportedError: For networks without exported form.
    """

    time_biases: th.Tensor

    def __init__(self, actor: SourceActor, source: Head, field: VelocityField, flow_steps: int):
        super().__init__(actor, field, noise_dim=source.noise_dim)
        self.source = source
        self.flow_steps = flow_steps
        dt = 1.0 / flow_steps
        self.field = ExportedMLP(field.net, field.features_dim, output_scale=dt)
        time_weight = self.field.input_weight[:, -1]
        self.register_buffer("time_biases", th.outer(dt * th.arange(1, flow_steps + 1).to(time_weight), time_weight))

    def forward(self, *inputs: th.Tensor) -> th.Tensor:
        features, field_features, *noise = inputs
        actions = self.source(features, *noise)
        hoisted = self.field.hoist(field_features)
        action_weight = self.field.input_weight[:, :-1].t()
        for k in range(self.flow_steps):
            step = self.field.propagate(th.addmm(hoisted + self.time_biases[k], actions, action_weight))
            actions = actions + step.clamp(-1.0, 1.0)
        return actions

    def write(self, graph: "Graph", *inputs: str) -> str:
        features, field_features, *noise = inputs
        actions = self.source.write(graph, features, *noise)
        width = self.time_biases.shape[1]
        # The first layer's part that is known beforehand, for all K times at once: a node less in every step.
        hoisted = self.field.write_hoist(graph, field_features)
        hoisted = graph.add("Unsqueeze", hoisted, graph.constant(np.array([1])))
        hoisted = graph.add("Add", hoisted, graph.constant(self.time_biases))
        flat = graph.add("Reshape", hoisted, graph.constant(np.array([-1, self.flow_steps * width])))
        action_weight = graph.constant(self.field.input_weight[:, :-1].t())
        # Stored once, and used by all K steps.
        layers = self.field.write_layers(graph)
        for first_layer in graph.add_many("Split", flat, n_outputs=self.flow_steps, axis=1):
            z = graph.add("Gemm", actions, action_weight, first_layer)
            step = self.field.write_propagate(graph, z, layers)
            actions = graph.add("Add", actions, graph.clamp(step))
        return actions


def exported_head(actor: SourceActor, source: Head, field: VelocityField, exploration: str, flow_steps: int) -> Head:
    """
    :param actor: The source policy.
    :param source: What makes a(0) of its features.
    :param field: The velocity field.
    :param exploration: "flow", or "source" for no flow.
    :param flow_steps: K, at least 1.
    :raises ValueError: For exploration="ascent", a wrong K, and networks without exported form.
    """
    if exploration == "ascent":
        raise UnsupportedError(
            "exploration='ascent' cannot be exported: each action needs gradients of the critics. Load the model "
            "with exploration='flow' (if it was trained so) or 'source', and export that."
        )
    validation.check_count("flow_steps", flow_steps)
    has_flow = exploration == "flow"
    head = FlowHead(actor, source, field, flow_steps) if has_flow else source
    head.metadata = {"exploration": exploration, "flow_steps": flow_steps if has_flow else 0}
    return head

"""The complete policy as one pure function of raw observations, the common source of all exported forms."""

from typing import cast

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from sb3_qflex.common import validation
from sb3_qflex.common.networks import SourceActor
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export.networks import ExportedMLP
from sb3_qflex.export.observations import Extractor, InputEncoder, input_encoders
from sb3_qflex.qflex.policies import QFlexPolicy


class BoxScale(nn.Module):
    """
    Rescale actions from [-1, 1] to the Box of the environment, flattened.

    :param action_space: The Box.
    """

    low: th.Tensor
    width: th.Tensor
    smallest: th.Tensor
    largest: th.Tensor

    def __init__(self, action_space: spaces.Box):
        super().__init__()
        low, high = (np.asarray(bound, np.float64).ravel() for bound in (action_space.low, action_space.high))
        self.is_identity = bool((low == -1.0).all() and (high == 1.0).all())
        self.register_buffer("low", th.as_tensor(low))
        self.register_buffer("width", th.as_tensor(high - low))
        # Bounds of a float64 Box are rounded inward, so that no float32 action lies outside.
        smallest, largest = low.astype(np.float32), high.astype(np.float32)
        smallest = np.where(smallest < low, np.nextafter(smallest, np.float32(np.inf)), smallest)
        largest = np.where(largest > high, np.nextafter(largest, np.float32(-np.inf)), largest)
        self.register_buffer("smallest", th.as_tensor(smallest))
        self.register_buffer("largest", th.as_tensor(largest))

    def forward(self, actions: th.Tensor) -> th.Tensor:
        """
        :param actions: Shape (B, |A|), in [-1, 1].
        :return: Shape (B, |A|), float32, never outside the Box.
        """
        if self.is_identity:
            return actions
        # In double precision, as in QFlexPolicy.unscale_action.
        scaled = (self.low + 0.5 * (actions.double() + 1.0) * self.width).float()
        return th.minimum(th.maximum(scaled, self.smallest), self.largest)


class ExportedPolicy(nn.Module):
    """
    Raw observations -> source action -> K unrolled flow steps -> action in the Box; nothing random inside.

    The step size dt is folded into the field's last layer, and each time t = k dt into a bias of its first layer.

    :param policy: The policy; its weights are copied.
    :param vec_normalize: Statistics to normalise observations with; None for none.
    :param flow_steps: Another K; None for the policy's.
    :param takes_noise: Whether the last input is standard normal noise (B, |A|), from which a(0) is sampled as in
        ``predict(deterministic=False)``.
    :raises ValueError: For what has no exported form.
    """

    time_biases: th.Tensor

    def __init__(
        self,
        policy: QFlexPolicy,
        vec_normalize: VecNormalize | None = None,
        flow_steps: int | None = None,
        takes_noise: bool = False,
    ):
        super().__init__()
        if policy.exploration == "ascent":
            raise UnsupportedError(
                "exploration='ascent' cannot be exported: each action needs gradients of the critics. Load the model "
                "with exploration='flow' (if it was trained so) or 'source', and export that."
            )
        self.exploration, self.takes_noise = policy.exploration, takes_noise
        self.flow_steps = policy.flow_steps if flow_steps is None else flow_steps
        validation.check_count("flow_steps", self.flow_steps)
        self.action_dim = policy.actor.action_dim
        self.normalizes = vec_normalize is not None and vec_normalize.norm_obs
        encoders = input_encoders(policy.observation_space, vec_normalize)
        self.names = list(encoders)
        self._encoders = nn.ModuleList(encoders.values())
        shapes = {name: encoder.shape for name, encoder in encoders.items()}
        takes_dict = isinstance(policy.observation_space, spaces.Dict)
        self.extractor = Extractor(policy.actor.features_extractor, shapes, takes_dict)
        rows = slice(None) if takes_noise else slice(self.action_dim)
        self.source = ExportedMLP(policy.actor.net, policy.actor.features_dim, rows)
        self.field: ExportedMLP | None = None
        if self.exploration == "flow":
            dt = 1.0 / self.flow_steps
            self.field = ExportedMLP(policy.field.net, policy.field.features_dim, output_scale=dt)
            self.field_extractor = self.extractor
            if not (self.extractor.is_plain or policy.share_features_extractor):
                self.field_extractor = Extractor(policy.field.features_extractor, shapes, takes_dict)
            times = dt * th.arange(1, self.flow_steps + 1)
            self.register_buffer("time_biases", th.outer(times, self.field.input_weight[:, -1]))
        self.scale = BoxScale(policy.action_space)
        self.cpu().eval().requires_grad_(False)

    @property
    def encoders(self) -> list[InputEncoder]:
        """The encoder of each input."""
        return cast(list[InputEncoder], list(self._encoders))

    def forward(self, *inputs: th.Tensor) -> th.Tensor:
        """
        :param inputs: Observations in the order of ``names``, each float32 (B, dim); then the noise, if it takes one.
        :return: Actions in the Box, float32 (B, |A|).
        """
        raw, noise = (inputs[:-1], inputs[-1]) if self.takes_noise else (inputs, None)
        encoded = [encoder(x) for encoder, x in zip(self.encoders, raw, strict=True)]
        features = self.extractor(*encoded)
        actions = self.source_actions(features, noise)
        if self.field is not None:
            same = self.field_extractor is self.extractor
            actions = self.flow(features if same else self.field_extractor(*encoded), actions)
        return self.scale(actions.clamp(-1.0, 1.0))

    def source_actions(self, features: th.Tensor, noise: th.Tensor | None) -> th.Tensor:
        """
        a(0): tanh(mean), or tanh(mean + std noise).

        :param features: Shape (B, F).
        :param noise: Shape (B, |A|), or None.
        :return: Shape (B, |A|).
        """
        output = self.source.propagate(self.source.hoist(features))
        if noise is None:
            return output.tanh()
        mean, log_std = SourceActor.split_heads(output)
        return (mean + log_std.exp() * noise).tanh()

    def flow(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """
        K Euler steps.

        :param features: Of the field, shape (B, F).
        :param actions: a(0), shape (B, |A|).
        :return: Shape (B, |A|), not clamped to [-1, 1].
        """
        assert self.field is not None
        hoisted = self.field.hoist(features)
        action_weight = self.field.input_weight[:, :-1].t()
        for k in range(self.flow_steps):
            step = self.field.propagate(th.addmm(hoisted + self.time_biases[k], actions, action_weight))
            actions = actions + step.clamp(-1.0, 1.0)
        return actions

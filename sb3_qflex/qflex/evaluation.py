"""What guidance and flow ask of a policy's networks: the readable definition or, with the same result, a fast form."""

from functools import partial
from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.common.action_gradient import action_gradient, for_gradients
from sb3_qflex.common.fast.cuda_graph import CudaGraphs
from sb3_qflex.common.fast.folding import FoldedMLP, differentiable_min_q, folded_q_gradient, folded_velocity
from sb3_qflex.common.fast.rounding import in_bfloat16
from sb3_qflex.common.losses import smallest
from sb3_qflex.common.networks import Critics
from sb3_qflex.common.type_aliases import QGradient, Velocity
from sb3_qflex.export.policy_file import ShareablePolicy
from sb3_qflex.qflex.flow import integrate
from sb3_qflex.qflex.guidance import Guidance, ascend
from sb3_qflex.qflex.networks import VelocityField


class EvaluatedPolicy(ShareablePolicy):
    """
    A policy with critics and a velocity field, which are evaluated in eval mode.

    :param arguments: Of :class:`ShareablePolicy`.
    """

    critic: Critics
    field: VelocityField

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self._graphs = CudaGraphs()

    # --- The field ---

    def velocity(self, obs: PyTorchObs) -> Velocity:
        """
        v(t, a) of the eval-mode field at given states.

        :param obs: Observations.
        """
        features = self.field.encode(obs)
        folded = self._folded_field()
        return self._plain_velocity(features) if folded is None else folded_velocity(folded[0], features)

    def _integrate(self, obs: PyTorchObs, source_actions: th.Tensor, n_steps: int) -> th.Tensor:
        """The end of the flow in n_steps, from a(0)."""
        features = self.field.encode(obs)
        row = self.single_row("field", self.field, self.field.net, features)
        if row is not None:
            return row.integrate(features, source_actions, n_steps)
        folded = self._folded_field()
        if folded is None:
            return integrate(self._plain_velocity(features), source_actions, n_steps)

        def loop(fields: list[FoldedMLP], features: th.Tensor, source_actions: th.Tensor) -> tuple[th.Tensor]:
            return (integrate(folded_velocity(fields[0], features), source_actions, n_steps),)

        return self._graphs.run(("flow", n_steps), loop, folded, features, source_actions)[0]

    def _plain_velocity(self, features: th.Tensor) -> Velocity:
        return lambda t, actions: self.field.velocity(features, actions, actions.new_full((len(actions), 1), t))

    def _folded_field(self) -> list[FoldedMLP] | None:
        return self.fold("field", self.field, [self.field.net], self.field.features_dim)

    # --- The critics ---

    def q_gradient(self, obs: PyTorchObs, dtype: str = "float32") -> QGradient:
        """
        Gradient of min_i Q_i by the action at given states, from the eval-mode critics.

        :param obs: Observations.
        :param dtype: "float32", or "bfloat16" where that is fast.
        """
        features, folded = self._critics_at(obs, dtype)
        return self._plain_gradient(features) if folded is None else folded_q_gradient(folded, features)

    def _guide(
        self,
        obs: PyTorchObs,
        source_actions: th.Tensor,
        n_steps: int,
        step_size: float,
        metric: th.Tensor | None,
        dtype: str,
    ) -> Guidance:
        """``guidance.ascend`` on the critics at given states."""
        features, folded = self._critics_at(obs, dtype)
        if folded is None:
            return ascend(self._plain_gradient(features), source_actions, n_steps, step_size, metric)

        def loop(critics: list[FoldedMLP], features: th.Tensor, actions: th.Tensor, *metric: th.Tensor) -> Guidance:
            return ascend(folded_q_gradient(critics, features), actions, n_steps, step_size, *metric)

        tensors = [features, source_actions, *([] if metric is None else [metric])]
        return Guidance(*self._graphs.run(("guidance", n_steps, step_size), loop, folded, *tensors))

    def min_q(self, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """
        min_i Q_i of the eval-mode critics, differentiable by the action.

        :param obs: Observations.
        :param actions: Shape (B, |A|).
        :return: Shape (B,).
        """
        features, folded = self._critics_at(obs)
        if folded is not None:
            return differentiable_min_q(folded, features, actions)
        return smallest(self.critic.q_values(features, actions))

    def _plain_gradient(self, features: th.Tensor) -> QGradient:
        with th.inference_mode(False):
            features = for_gradients(features)
        return partial(action_gradient, partial(self.critic.q_values, features))

    @th.no_grad()
    def _critics_at(self, obs: PyTorchObs, dtype: str = "float32") -> tuple[th.Tensor, list[FoldedMLP] | None]:
        """Features of given states as constants, and the folded critics if there are, in a number type."""
        nets, features = list(self.critic.q_networks), self.critic.encode(obs)
        folded = self.fold("critic", self.critic, nets, self.critic.features_dim, True)
        return features, in_bfloat16(folded, features.device) if dtype == "bfloat16" else folded

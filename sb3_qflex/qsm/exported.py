"""The exported forms of QSM's two chains, each step of which is affine in action and prediction, and clipped."""

from typing import TYPE_CHECKING

import numpy as np
import torch as th

from sb3_qflex.export.diffusion_head import DiffusionHead

if TYPE_CHECKING:
    from sb3_qflex.export.graph import Graph  # onnx is optional


class ScoreHead(DiffusionHead):
    """x <- clip((x - beta / sqrt(1 - abar) eps) / sqrt(1 - beta) + sqrt(beta) z), without z in the last step."""

    def coefficients(self, t: int) -> tuple[float, float, float]:
        """
        :param t: Step.
        :return: Factors of x, of the prediction and of the noise.
        """
        beta, abar = self.steps[t]["beta"], self.steps[t]["abar"]
        of_action = 1.0 / (1.0 - beta) ** 0.5
        return of_action, -of_action * beta / (1.0 - abar) ** 0.5, beta**0.5 if t > 0 else 0.0

    def _added(self, t: int) -> th.Tensor:
        """What a step adds whatever the state, shape (N, |A|); with a step that has no noise, zero."""
        scale = self.coefficients(t)[2]
        return scale * self.noise_behind(t) if scale else th.zeros_like(self.noise[0])

    def step(self, x: th.Tensor, eps: th.Tensor, t: int) -> th.Tensor:
        of_action, of_prediction, _ = self.coefficients(t)
        return (of_action * x + of_prediction * eps + self._added(t)).clamp(-1.0, 1.0)

    def write_step(self, graph: "Graph", x: str, eps: str, t: int) -> str:
        of_action, of_prediction, _ = self.coefficients(t)
        x = graph.add("Mul", x, graph.constant(np.float32(of_action)))
        eps = graph.add("Mul", eps, graph.constant(np.float32(of_prediction)))
        return graph.clamp(graph.add("Add", graph.add("Add", x, eps), graph.constant(self._added(t))))


class LangevinHead(ScoreHead):
    """x <- clip(x + delta / 2 phi + sqrt(delta) z) with delta = (t + 1) / T for t = T - 1 ... 0."""

    def coefficients(self, t: int) -> tuple[float, float, float]:
        """
        :param t: Step.
        :return: Factors of x, of the prediction and of the noise.
        """
        delta = (t + 1) / len(self.steps)
        return 1.0, 0.5 * delta, delta**0.5

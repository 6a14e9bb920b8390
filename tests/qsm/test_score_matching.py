"""Q-score matching against closed forms."""

import math

import pytest
import torch as th

from sb3_qflex.common.action_gradient import action_gradient
from sb3_qflex.qsm.score_matching import denoising_loss, langevin, mean_of_critics, score_loss


def quadratic(k: float, mu: float) -> object:
    return lambda actions: (-0.5 * k * (actions - mu).square().sum(dim=1)).expand(2, -1)


def test_ddpm_target_is_the_scaled_negative_gradient() -> None:
    x = th.tensor([[0.25]])
    gradient = action_gradient(quadratic(2.0, 0.5), x, mean_of_critics)
    assert gradient.item() == pytest.approx(0.5)
    eps = th.tensor([[-25.0]], requires_grad=True)
    loss = denoising_loss(eps, gradient, 50.0)
    assert loss.item() == 0.0
    assert denoising_loss(eps + 1.0, gradient, 50.0).item() == pytest.approx(1.0)


@pytest.mark.parametrize(("k", "mean", "variance"), [(1.0, 0.998475, 1.074905), (4.0, None, 0.290701)])
def test_langevin_moments_without_the_box(k: float, mean: float | None, variance: float) -> None:
    # The result is affine in the 21 noises: one row for each of them alone, and one without any.
    n = 20
    noises = th.zeros(n + 1, n + 2, 1, dtype=th.float64)
    noises[th.arange(n + 1), th.arange(n + 1), 0] = 1.0
    ends = langevin(lambda x: k * (1.0 - x), noises, math.inf).flatten()
    if mean is not None:
        assert ends[-1].item() == pytest.approx(mean, abs=1e-6)
    assert (ends[:-1] - ends[-1]).square().sum().item() == pytest.approx(variance, abs=1e-6)


def test_langevin_stays_in_the_box_and_leaves_its_noise_alone() -> None:
    noise = th.full((21, 3, 2), 5.0)
    assert langevin(lambda x: 100.0 * x, noise).tolist() == [[1.0, 1.0]] * 3
    assert th.equal(noise, th.full((21, 3, 2), 5.0))


def test_opposite_critics() -> None:
    def slopes(actions: th.Tensor) -> th.Tensor:
        return th.stack([actions.sum(dim=1), -actions.sum(dim=1)])

    actions = th.tensor([[0.5], [-0.5]])
    assert action_gradient(slopes, actions).tolist() == [[-1.0], [1.0]]
    assert action_gradient(slopes, actions, mean_of_critics).tolist() == [[0.0], [0.0]]


def test_score_loss() -> None:
    score = th.tensor([[1.0, 2.0]], requires_grad=True)
    assert score_loss(score, th.tensor([[0.0, 4.0]])).item() == pytest.approx((1.0 + 4.0) / 2)

"""DACER's losses: gradients worked out by hand."""

import pytest
import torch as th

from sb3_qflex.dacer.objectives import ReturnTarget, critic_loss, return_target


def gradients(mu: float, sigma: float, y: float, y_sample: float, b: float) -> tuple[float, float]:
    means, stds = (th.tensor([[value]], dtype=th.float64, requires_grad=True) for value in (mu, sigma))
    target = ReturnTarget(th.tensor([y], dtype=th.float64), th.tensor([y_sample], dtype=th.float64))
    loss = critic_loss(means, stds, target, th.tensor([b], dtype=th.float64))
    by_mean, by_std = th.autograd.grad(loss, [means, stds])
    return by_mean.item(), by_std.item()


def test_critic_gradient() -> None:
    # -(1 + 0.1) (2 - 1)/(0.25 + 0.1), and -(1 + 0.1) (1.5^2 - 0.25)/(0.125 + 0.1)
    assert gradients(1.0, 0.5, 2.0, 2.5, 1.0) == pytest.approx((-3.142857, -9.777778), rel=1e-6)


def test_critic_gradient_is_zero_at_the_solution() -> None:
    assert gradients(1.0, 0.5, 1.0, 1.5, 1.0) == pytest.approx((0.0, 0.0))


def test_sampled_return_is_bounded_by_three_running_deviations() -> None:
    assert gradients(1.0, 0.5, 2.0, 1e6, 0.5) == gradients(1.0, 0.5, 2.0, 2.5, 0.5)
    assert gradients(1.0, 0.5, 2.0, -1e6, 0.5) == gradients(1.0, 0.5, 2.0, -0.5, 0.5)
    # (0.25 + 0.1) (2.25 - 0.25)/(0.125 + 0.1)
    assert gradients(1.0, 0.5, 2.0, 1e6, 0.5)[1] == pytest.approx(-0.35 * 2.0 / 0.225)


def test_each_critic_has_its_own_scale() -> None:
    means, stds = th.tensor([[0.0], [0.0]], requires_grad=True), th.full((2, 1), 1.0)
    target = ReturnTarget(th.ones(1), th.ones(1))
    (gradient,) = th.autograd.grad(critic_loss(means, stds, target, th.tensor([1.0, 2.0])), means)
    assert gradient.flatten().tolist() == pytest.approx([-1.1 / 1.1, -4.1 / 1.1])


def test_the_target_is_the_pessimistic_critics() -> None:
    means, stds = th.tensor([[1.0, 5.0], [2.0, 4.0]]), th.tensor([[0.1, 0.2], [0.3, 0.4]])
    noise = th.tensor([[10.0, 1.0], [1.0, -2.0]])
    rewards, dones = th.tensor([0.5, 0.5]), th.tensor([0.0, 0.0])
    y, y_sample = return_target(rewards, dones, 0.9, means, stds, noise)
    assert y.tolist() == pytest.approx([0.5 + 0.9 * 1.0, 0.5 + 0.9 * 4.0])
    # The first one's noise of 10 counts as 3.
    assert y_sample.tolist() == pytest.approx([0.5 + 0.9 * 1.3, 0.5 + 0.9 * (4.0 - 0.8)])
    ended = return_target(rewards, th.ones(2), 0.9, means, stds, noise)
    assert ended.mean.tolist() == ended.sample.tolist() == [0.5, 0.5]

"""Each loss against numbers worked out by hand."""

import pytest
import torch as th

from sb3_qflex.common import losses


def test_bellman_target_by_hand() -> None:
    rewards = th.tensor([1.0, -2.0, 0.5])
    dones = th.tensor([0.0, 0.0, 1.0])
    next_q = th.tensor([[3.0, 10.0, 7.0], [4.0, 5.0, 9.0]], requires_grad=True)
    target = losses.bellman_target(rewards, dones, 0.9, next_q)
    assert target.tolist() == pytest.approx([1 + 0.9 * 3, -2 + 0.9 * 5, 0.5])
    assert not target.requires_grad
    # n-step discounts of each sample, and the entropy of the next source action inside the bracket.
    discounts, entropy = th.tensor([0.9, 0.81, 0.9]), th.tensor([0.5, -1.0, 2.0])
    target = losses.bellman_target(rewards, dones, discounts, next_q, entropy)
    assert target.tolist() == pytest.approx([1 + 0.9 * 3.5, -2 + 0.81 * 4, 0.5])


def test_critic_loss_sums_over_critics_without_a_half() -> None:
    q = th.tensor([[1.0, 2.0], [0.0, 4.0]])
    assert losses.critic_loss(q, th.tensor([0.0, 4.0])).item() == pytest.approx((1 + 4) / 2 + 0.0)


def test_source_loss() -> None:
    q = th.tensor([1.0, 3.0])
    assert losses.source_loss(q).item() == pytest.approx(-(1 + 3) / 2)
    with_entropy = losses.source_loss(q, th.tensor(0.1), th.tensor([2.0, -4.0]))
    assert with_entropy.item() == pytest.approx(((0.2 - 1) + (-0.4 - 3)) / 2)


def test_temperature_falls_where_the_entropy_is_above_its_target() -> None:
    log_alpha = th.zeros(1, requires_grad=True)
    log_prob = th.tensor([1.0, 2.0], requires_grad=True)
    loss = losses.temperature_loss(log_alpha, log_prob, target_entropy=-3.0)  # entropy -1.5 > -3
    loss.backward()
    assert log_alpha.grad is not None and log_alpha.grad.item() == pytest.approx(1.5)  # descent lowers alpha
    assert log_prob.grad is None


def test_flow_matching_loss_is_the_mean_over_batch_and_coordinates() -> None:
    velocity, path = th.tensor([[1.0, 0.0], [0.0, 0.0]]), th.tensor([[0.0, 2.0], [0.0, 1.0]])
    assert losses.flow_matching_loss(velocity, path).item() == pytest.approx((1 + 4 + 0 + 1) / 4)

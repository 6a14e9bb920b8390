"""The Q-guided target against closed forms: quadratic Q, both sides of the truncation, ties, the metric."""

import math
from itertools import pairwise

import pytest
import torch as th

from sb3_qflex.common.action_gradient import action_gradient
from sb3_qflex.common.losses import smallest
from sb3_qflex.qflex.guidance import ascend, rms_preconditioner, truncated_step_size


def quadratic(centre: th.Tensor, curvature: float = 1.0):
    """Q(a) = -curvature/2 ||a - centre||^2 as a single critic, with gradient curvature (centre - a)."""
    return lambda a: (-0.5 * curvature * (a - centre).square().sum(dim=1))[None]


def ascend_on(q_values, start: th.Tensor, n_steps: int, step_size: float, **kwargs):
    return ascend(lambda a: action_gradient(q_values, a), start, n_steps, step_size, **kwargs)


@pytest.mark.parametrize("n_steps", [1, 5, 20])
def test_quadratic_q_has_the_closed_form(n_steps: int) -> None:
    centre = th.tensor([[0.5, -0.25, 0.1]], dtype=th.double)
    start = th.zeros(4, 3, dtype=th.double)
    result = ascend_on(quadratic(centre), start, n_steps, 0.1)
    th.testing.assert_close(result.target_actions, centre * (1 - 0.9**n_steps) * th.ones_like(start))
    th.testing.assert_close(result.first_gradient, centre.expand(4, 3))
    expected_norms = th.stack([centre.norm() * 0.9**n for n in range(n_steps)])[:, None].expand(n_steps, 4)
    th.testing.assert_close(result.step_norms, expected_norms)


def test_result_is_not_clamped() -> None:
    result = ascend_on(quadratic(th.tensor([[3.0]])), th.tensor([[0.9]]), 50, 0.1)
    assert result.target_actions.item() > 2.9


@pytest.mark.parametrize("action_dim", [1, 4, 100])
def test_a_truncated_step_has_the_length_of_the_boxs_diameter(action_dim: int) -> None:
    # Of one length: a sample near zero would be too short for a truncation.
    gradient = th.nn.functional.normalize(th.randn(8, action_dim)) * 1e5
    start = th.zeros(8, action_dim)
    result = ascend(lambda a: gradient, start, 1, 0.01)
    th.testing.assert_close(result.target_actions.norm(dim=1), th.full((8,), 2 * math.sqrt(action_dim)))
    th.testing.assert_close(th.nn.functional.normalize(result.target_actions), th.nn.functional.normalize(gradient))


def test_the_truncation_begins_where_the_step_reaches_the_diameter() -> None:
    eta, dim = 0.5, 4
    boundary = 2 * math.sqrt(dim) / eta  # ||g|| at which eta ||g|| is the diameter
    norms = th.tensor([[0.0], [1.0], [boundary * 0.999], [boundary * 2]], dtype=th.double)
    assert truncated_step_size(norms, eta, dim).flatten().tolist() == pytest.approx([eta, eta, eta, eta / 2])


def test_each_sample_has_its_own_truncation() -> None:
    gradient = th.tensor([[1.0, 0.0], [1e6, 0.0]])
    moved = ascend(lambda a: gradient, th.zeros(2, 2), 1, 0.01).target_actions
    th.testing.assert_close(moved, th.tensor([[0.01, 0.0], [2 * math.sqrt(2), 0.0]]))


def test_the_smallest_critic_alone_gets_the_gradient() -> None:
    q = lambda a: th.stack([2.0 * a[:, 0], -a[:, 1]])  # noqa: E731
    actions = th.tensor([[-1.0, 0.0], [1.0, 1.0]])  # first: Q_1 = -2 < 0; second: Q_2 = -1 < 2
    assert action_gradient(q, actions).tolist() == [[2.0, 0.0], [0.0, -1.0]]


def test_ties_go_to_the_first_critic() -> None:
    q = lambda a: th.stack([a[:, 0], 3.0 * a[:, 0], a[:, 0]])  # noqa: E731
    assert action_gradient(q, th.zeros(5, 1)).tolist() == [[1.0]] * 5
    values = th.zeros(3, 2, requires_grad=True)
    smallest(values).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]


def test_the_gradient_reaches_no_parameter() -> None:
    critic = th.nn.Linear(2, 1)
    action_gradient(lambda a: critic(a).T, th.zeros(3, 2))
    assert critic.weight.grad is None


def test_proposition_1_on_the_batch_mean_of_the_iterates() -> None:
    """E[Q] does not decrease along the guidance, for a Q that is neither concave nor a minimum of one function."""
    th.manual_seed(0)
    critics = [th.nn.Sequential(th.nn.Linear(6, 32), th.nn.Tanh(), th.nn.Linear(32, 1)).double() for _ in range(2)]
    q_values = lambda a: th.stack([critic(a).squeeze(1) for critic in critics])  # noqa: E731
    start = th.rand(512, 6, dtype=th.double) * 2 - 1
    metric = th.rand(6, dtype=th.double) + 0.1
    for preconditioner in (None, metric):
        means = [smallest(q_values(start)).mean().item()]
        for n in range(1, 21):
            actions = ascend_on(q_values, start, n, 0.01, preconditioner=preconditioner).target_actions
            means.append(smallest(q_values(actions)).mean().item())
        assert all(after >= before for before, after in pairwise(means))
        assert means[-1] > means[0] + 1e-3


def test_the_preconditioner_scales_the_direction_and_the_truncation() -> None:
    metric = th.tensor([2.0, 0.5])
    small = ascend(lambda a: th.ones_like(a), th.zeros(1, 2), 1, 0.1, metric)
    th.testing.assert_close(small.target_actions, th.tensor([[0.2, 0.05]]))
    large = ascend(lambda a: th.full_like(a, 1e6), th.zeros(1, 2), 1, 0.1, metric)
    th.testing.assert_close(large.target_actions.norm(), th.tensor(2 * math.sqrt(2)))
    th.testing.assert_close(large.target_actions[0, 0] / large.target_actions[0, 1], th.tensor(4.0))


def test_rms_preconditioner() -> None:
    u = th.tensor([1.0, 4.0, 16.0])
    expected = th.tensor([1.0, 0.5, 0.25]) / (1.75 / 3)
    th.testing.assert_close(rms_preconditioner(u), expected)
    th.testing.assert_close(rms_preconditioner(1e-6 * u), expected)  # scale-free, so the EMA needs no debiasing
    assert rms_preconditioner(th.zeros(3)).tolist() == [1.0, 1.0, 1.0]
    dead = rms_preconditioner(th.tensor([0.0, 1.0, 1.0]))
    assert th.isfinite(dead).all() and dead.mean().item() == pytest.approx(1.0)

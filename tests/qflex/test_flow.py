"""The straight path and the Euler integrator, on fields whose flow is known."""

import math
from itertools import pairwise

import pytest
import torch as th

from sb3_qflex.common.losses import straight_path
from sb3_qflex.qflex.flow import integrate


def test_straight_path_is_linear_between_its_ends() -> None:
    source, target = th.tensor([[0.0, 1.0]]), th.tensor([[2.0, -1.0]])
    ends = [straight_path(source, target, th.tensor([[t]])) for t in (0.0, 0.25, 1.0)]
    assert [point.tolist() for point, _ in ends] == [[[0.0, 1.0]], [[0.5, 0.5]], [[2.0, -1.0]]]
    assert all(velocity.tolist() == [[2.0, -2.0]] for _, velocity in ends)


@pytest.mark.parametrize("n_steps", [1, 3, 20])
def test_constant_field_is_exact(n_steps: int) -> None:
    velocity = th.tensor([[0.3, -0.7]])
    end = integrate(lambda t, a: velocity.expand_as(a), th.zeros(4, 2), n_steps)
    th.testing.assert_close(end, velocity.expand(4, 2))


def test_field_is_evaluated_at_the_right_ends() -> None:
    times: list[float] = []

    def field(t: float, actions: th.Tensor) -> th.Tensor:
        times.append(t)
        return th.full_like(actions, t)

    end = integrate(field, th.zeros(1, 1, dtype=th.double), 4)
    assert times == [0.25, 0.5, 0.75, 1.0]
    assert end.item() == pytest.approx(0.25 * sum(times))  # the right Riemann sum of t, not 1/2


def test_linear_field_converges_with_first_order() -> None:
    start = th.tensor([[0.2, -0.1]], dtype=th.double)
    steps = [10, 20, 40, 80, 160]
    errors = [(integrate(lambda t, a: a, start, k) - math.e * start).abs().max().item() for k in steps]
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert orders == pytest.approx([1.0] * 4, abs=0.1)
    # Euler's own closed form: (1 + 1/K)^K.
    th.testing.assert_close(integrate(lambda t, a: a, start, 10), start * 1.1**10)


@pytest.mark.parametrize("n_steps", [1, 5])
def test_one_step_moves_a_coordinate_by_at_most_one(n_steps: int) -> None:
    visited: list[th.Tensor] = []

    def field(t: float, actions: th.Tensor) -> th.Tensor:
        visited.append(actions)
        return th.tensor([[1e6, -1e6, 0.5]]).expand_as(actions)

    end = integrate(field, th.zeros(2, 3), n_steps)
    moves = [b - a for a, b in zip(visited, [*visited[1:], end], strict=True)]
    for move in moves:
        th.testing.assert_close(move, th.tensor([[1.0, -1.0, 0.5 / n_steps]]).expand(2, 3))


def test_rows_are_independent() -> None:
    start = th.randn(6, 3, dtype=th.double)
    field = lambda t, a: th.sin(a * t) - a  # noqa: E731
    th.testing.assert_close(integrate(field, start, 7)[2:3], integrate(field, start[2:3], 7))

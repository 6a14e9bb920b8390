"""The fast log-probability against the readable one: values, gradients, and what float32 cannot factorise."""

from collections.abc import Callable

import pytest
import torch as th

from sb3_qflex.lattice.distributions import SquashedLatticeDistribution
from sb3_qflex.lattice.factorised import LogDetAndQuadratic, factorise, inverse
from sb3_qflex.lattice.gaussian import LatticeGaussian

#: d and n: one panel and several, the last one narrower or not; and both sides of n = d.
SIZES = [(1, 3), (5, 5), (16, 24), (37, 50), (48, 48), (40, 7), (20, 19)]


def parts(d: int, n: int, dtype: th.dtype, rows: int = 3) -> list[th.Tensor]:
    """Mean, W, both deviations and actions."""
    generator = th.Generator().manual_seed(d + 100 * n)
    normal = [th.randn(shape, generator=generator, dtype=th.float64) for shape in ((rows, d), (d, n), (rows, d))]
    latent, action = (0.1 + th.rand(rows, size, generator=generator, dtype=th.float64) for size in (n, d))
    return [one.to(dtype) for one in (normal[0], normal[1], latent, action, normal[2])]


def value_and_gradients(
    function: Callable[[LatticeGaussian, th.Tensor], th.Tensor], given: list[th.Tensor]
) -> list[th.Tensor]:
    leaves = [one.clone().requires_grad_() for one in given]
    value = function(LatticeGaussian(*leaves[:4]), leaves[4])
    # Rows count differently, as with any loss behind them.
    (value * th.arange(1.0, len(value) + 1.0, dtype=value.dtype)).sum().backward()
    return [value.detach(), *(th.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("rows", [3, 50])
@pytest.mark.parametrize(("dtype", "tolerance"), [(th.float64, 1e-9), (th.float32, 1e-3)])
@pytest.mark.parametrize(("d", "n"), SIZES)
def test_values_and_gradients_are_those_of_the_definition(
    d: int, n: int, dtype: th.dtype, tolerance: float, rows: int
) -> None:
    given = parts(d, n, dtype, rows)
    fast = value_and_gradients(LatticeGaussian.log_prob, given)
    expected = value_and_gradients(LatticeGaussian.readable_log_prob, [one.double() for one in given])
    for one, other in zip(fast, expected, strict=True):
        assert one.dtype == dtype
        th.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance * other.abs().max().item())


@pytest.mark.parametrize(("d", "n"), [(20, 30), (30, 20)])
def test_entropy_is_that_of_the_definition(d: int, n: int) -> None:
    given = parts(d, n, th.float64)
    fast = value_and_gradients(lambda gaussian, actions: gaussian.entropy(), given)
    expected = value_and_gradients(lambda gaussian, actions: gaussian.density.entropy(), given)
    for one, other in zip(fast, expected, strict=True):
        th.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("d", "rows"), [(18, 2), (3, 4)])
def test_gradients_are_those_of_finite_differences(d: int, rows: int) -> None:
    _, weight, latent, action, vectors = parts(d, 4, th.float64, rows)
    given = [one.requires_grad_() for one in (weight, latent.square(), action.square(), vectors)]
    assert th.autograd.gradcheck(LogDetAndQuadratic.apply, given)


def test_factors_and_their_inverse() -> None:
    _, weight, latent, action, _ = parts(37, 50, th.float64)
    gaussian = LatticeGaussian(th.zeros(3, 37), weight, latent, action)
    factors = factorise(weight, latent.square(), action.square())
    lower = factors.lower.tril()
    th.testing.assert_close(lower @ lower.mT, gaussian.covariance)
    identity = th.eye(37, dtype=th.float64).expand(3, -1, -1)
    th.testing.assert_close(inverse(factors) @ gaussian.covariance, identity)


@pytest.mark.parametrize(("d", "n"), [(24, 40), (24, 24), (24, 8)])
def test_covariances_that_float32_cannot_factorise_are_taken_in_float64(d: int, n: int) -> None:
    mean, weight, latent, action, noise = parts(d, n, th.float32)
    # All latent noise in one direction, beside action noise as small as the smallest that there is.
    weight[:], latent[:] = weight[:, :1], 2.0
    action[:] = 1e-3
    # At mean 0, so that float32 holds the difference, which counts by its size beside the action noise.
    given = [mean.zero_(), weight, latent, action, 1e-3 * noise]
    if n >= d:
        with pytest.raises(th.linalg.LinAlgError):
            factorise(weight, latent.square(), action.square())
    fast = value_and_gradients(LatticeGaussian.log_prob, given)
    expected = value_and_gradients(LatticeGaussian.readable_log_prob, [one.double() for one in given])
    # Of what float32 gives them: Woodbury's formula subtracts, in the definition as here.
    tolerance = 1e-4 if n >= d else 1e-2
    for one, other in zip(fast, expected, strict=True):
        assert one.dtype == th.float32
        th.testing.assert_close(one.double(), other, rtol=tolerance, atol=tolerance * other.abs().max().item())


@pytest.mark.parametrize("n", [3, 12])
def test_latent_noise_that_is_nothing_leaves_a_diagonal(n: int) -> None:
    mean, weight, latent, action, actions = parts(7, n, th.float32)
    made = LatticeGaussian(mean, weight, th.zeros_like(latent).requires_grad_(), action)
    log_prob = made.log_prob(actions)
    expected = th.distributions.Normal(mean, action).log_prob(actions).sum(dim=1)
    th.testing.assert_close(log_prob, expected, rtol=1e-4, atol=1e-4)
    log_prob.sum().backward()
    assert made.latent_std.grad is not None and not made.latent_std.grad.any()


def test_what_is_not_finite_fails_as_in_the_definition() -> None:
    mean, weight, latent, action, actions = parts(7, 9, th.float32)
    with pytest.raises(th.linalg.LinAlgError):
        LatticeGaussian(mean, weight * th.nan, latent, action).log_prob(actions)
    squashed = SquashedLatticeDistribution(7)
    _, log_prob = squashed.log_prob_from_params(mean, th.full((3, 16), th.nan), weight)
    assert th.isnan(log_prob).all()

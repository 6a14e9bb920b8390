"""Lattice's distributions against answers worked out from their definition (K1 to K5)."""

import math
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from torch import nn
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal

from sb3_qflex.lattice.distributions import (
    LatticeDistribution,
    LatticeStateDependentDistribution,
    SquashedLatticeDistribution,
)
from sb3_qflex.lattice.gaussian import LatticeGaussian

W = th.tensor([[1.0, 2.0], [0.0, 1.0]])
# The actuators' entries come first.
LOG_STD = th.tensor([0.3, 0.1, 0.1, 0.2]).log()
SIGMA = th.tensor([[0.26, 0.08], [0.08, 0.05]])
# Before the shift by half of log n, so that S_x = [[0.1, 0.2], [0.3, 0.4]] and S_a = [[0.05, 0.1], [0.2, 0.1]].
S = th.tensor([[0.1, 0.2, 0.05, 0.1], [0.3, 0.4, 0.2, 0.1]])
L = S.log() + 0.5 * math.log(2.0)
X = th.tensor([[1.0, -2.0]])
STATE_SIGMA = th.tensor([[3.2525, 1.36], [1.36, 0.73]])


def plain(rows: int = 1, **arguments: Any) -> LatticeDistribution:
    return LatticeDistribution(2, **arguments).proba_distribution(th.zeros(rows, 2), LOG_STD, W)


def state_dependent(rows: int = 1, **arguments: Any) -> LatticeStateDependentDistribution:
    made = LatticeStateDependentDistribution(2, **{"std_clip": (1e-3, 10.0), **arguments})
    return made.proba_distribution(th.zeros(rows, 2), L, X.expand(rows, 2), W)


def test_k1_plain_covariance_and_log_probability() -> None:
    exact = plain(epsilon=0.0)
    th.testing.assert_close(exact.distribution.covariance, SIGMA)
    actions = th.tensor([[0.5, -0.2]])
    th.testing.assert_close(exact.log_prob(actions), th.tensor([-2.274504]), atol=1e-6, rtol=0.0)
    th.testing.assert_close(plain().distribution.covariance, SIGMA + 1e-6 * th.eye(2), atol=1e-7, rtol=0.0)


def test_k1_log_std_init_is_a_factor_of_all_deviations() -> None:
    scaled = plain(epsilon=0.0, log_std_init=math.log(2.0))
    th.testing.assert_close(scaled.distribution.covariance, 4.0 * SIGMA)


def test_k2_state_dependent_covariance() -> None:
    th.testing.assert_close(state_dependent(epsilon=0.0).distribution.covariance, STATE_SIGMA.unsqueeze(0))
    regular = state_dependent(epsilon=0.0, std_reg=0.5).distribution.covariance
    th.testing.assert_close(regular, (STATE_SIGMA + 0.25 * th.eye(2)).unsqueeze(0))
    latent = W @ th.diag(th.tensor([0.37, 0.68])) @ W.t()
    halved = state_dependent(epsilon=0.0, lattice_alpha=0.5).distribution.covariance
    th.testing.assert_close(halved, (STATE_SIGMA - 0.75 * latent).unsqueeze(0))


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("held", [False, True])
def test_k3_samples_have_the_covariance_of_the_density(held: bool, squash: bool) -> None:
    th.manual_seed(0)
    rows = 100_000
    exploring = state_dependent(rows, std_reg=0.3, squash_output=squash)
    if held:
        with exploring.exploring():
            exploring.sample()
    else:
        exploring.sample()
    made = SquashedLatticeDistribution(2) if squash else LatticeDistribution(2)
    made.proba_distribution(th.zeros(rows, 2), LOG_STD, W).sample()
    expected = STATE_SIGMA + 0.09 * th.eye(2)
    for sampled, sigma in ((made.gaussian_actions, SIGMA), (exploring.gaussian_actions, expected)):
        np.testing.assert_allclose(np.cov(sampled.numpy().T), sigma.numpy(), rtol=0.03)
        assert sampled.mean(dim=0).abs().max() < 0.02


@pytest.mark.parametrize("use_expln", [False, True])
def test_k4_without_latent_noise_it_is_gsde_with_shifted_deviations(use_expln: bool) -> None:
    th.manual_seed(0)
    n, d = 5, 3
    layer = nn.Linear(n, d)
    x, actions, log_std = th.randn(4, n), th.randn(4, d), th.randn(n, d)
    gsde = StateDependentNoiseDistribution(d, use_expln=use_expln)
    gsde.proba_distribution_net(n)
    gsde.proba_distribution(layer(x), log_std - 0.5 * math.log(n), x)
    lattice = LatticeStateDependentDistribution(d, use_expln=use_expln, lattice_alpha=0.0, std_clip=(1e-9, 1e9))
    both = th.cat([th.randn(n, n), log_std], dim=1)
    lattice.proba_distribution(layer(x), both, x, layer.weight)
    th.testing.assert_close(lattice.log_prob(actions), gsde.log_prob(actions), atol=1e-5, rtol=1e-5)
    th.testing.assert_close(lattice.entropy(), gsde.entropy(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("state", [False, True])
def test_k5_squashed_densities_integrate_to_one(state: bool) -> None:
    points = th.linspace(-1.0, 1.0, 801)
    points = 0.5 * (points[1:] + points[:-1])
    grid = th.cartesian_prod(points, points)
    mean = th.tensor([[0.2, -0.1]]).expand(len(grid), 2)
    if state:
        made: Any = LatticeStateDependentDistribution(2, squash_output=True, lattice_alpha=0.3)
        made.proba_distribution(mean, L, th.tensor([[1.0, 0.5]]).expand(len(grid), 2), W)
    else:
        made = SquashedLatticeDistribution(2).proba_distribution(mean, LOG_STD, W)
    total = made.log_prob(grid).double().exp().sum() * (points[1] - points[0]) ** 2
    assert abs(total.item() - 1.0) < 2e-3
    assert made.entropy() is None


@pytest.mark.parametrize(("d", "n", "form"), [(6, 3, LowRankMultivariateNormal), (3, 3, MultivariateNormal)])
@pytest.mark.parametrize("batched", [False, True])
def test_the_form_of_low_rank_is_used_below_d_and_is_the_same(d: int, n: int, form: type, batched: bool) -> None:
    th.manual_seed(0)
    shape = (4,) if batched else ()
    made = LatticeGaussian(th.randn(4, d), th.randn(d, n), th.rand(*shape, n), 0.1 + th.rand(*shape, d))
    assert type(made.density) is form
    full = MultivariateNormal(made.mean.double(), made.covariance.double())
    actions = th.randn(4, d)
    th.testing.assert_close(made.log_prob(actions).double(), full.log_prob(actions.double()), atol=1e-3, rtol=1e-5)
    th.testing.assert_close(made.entropy().double(), full.entropy(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("rows", [2, 5])
def test_covariances_of_few_and_of_many_rows(rows: int) -> None:
    th.manual_seed(0)
    weight, latent_std, action_std = th.randn(4, 6), th.rand(rows, 6), th.rand(rows, 4)
    expected = th.stack(
        [weight @ th.diag(x**2) @ weight.t() + th.diag(a**2) for x, a in zip(latent_std, action_std, strict=True)]
    )
    th.testing.assert_close(LatticeGaussian(th.zeros(rows, 4), weight, latent_std, action_std).covariance, expected)


@pytest.mark.parametrize("n", [8, 24])
def test_vanishing_action_noise_has_a_finite_density(n: int) -> None:
    th.manual_seed(0)
    d = 16
    log_std = th.full((d + n,), -20.0)
    log_std[d:] = 2.0
    for one in (th.full((d + n,), -20.0), log_std):
        made = SquashedLatticeDistribution(d)
        weight = th.randn(d, n, requires_grad=True)
        _, log_prob = made.log_prob_from_params(th.zeros(3, d), one, weight)
        assert th.isfinite(log_prob).all()
        log_prob.sum().backward()
        assert weight.grad is not None and th.isfinite(weight.grad).all()


def test_parameters_that_are_not_finite_give_no_number_where_a_guard_follows() -> None:
    for weight in (W, W * math.nan):
        squashed = SquashedLatticeDistribution(2)
        _, log_prob = squashed.log_prob_from_params(th.full((3, 2), math.nan), LOG_STD, weight)
        assert th.isnan(log_prob).all()
    with pytest.raises(th.linalg.LinAlgError):
        LatticeDistribution(2).proba_distribution(th.zeros(3, 2), LOG_STD, W * math.nan).log_prob(th.zeros(3, 2))


def test_deviations_are_clipped_before_they_are_shifted_by_the_width() -> None:
    made = LatticeStateDependentDistribution(2, std_clip=(1e-3, 1.0))
    std = made.get_std(th.tensor([[-20.0, 5.0, 0.0, 0.0]]).repeat(4, 1)[:, [0, 1, 0, 1, 2, 3]])
    assert std.shape == (4, 6)
    th.testing.assert_close(std[:, 0], th.full((4,), 1e-3 / 2.0))
    th.testing.assert_close(std[:, 1], th.full((4,), 1.0 / 2.0))
    short = LatticeStateDependentDistribution(2, full_std=False)
    _, log_std = short.proba_distribution_net(3, log_std_init=-1.0)
    assert log_std.shape == (3, 2)
    std = short.get_std(th.tensor([[-1.0, -2.0]]).repeat(3, 1))
    th.testing.assert_close(std[:, :3], th.full((3, 3), math.exp(-1.0) / math.sqrt(3.0)))
    th.testing.assert_close(std[:, 3:], th.full((3, 2), math.exp(-2.0) / math.sqrt(3.0)))


@pytest.mark.parametrize("learn_features", [False, True])
def test_gradients_of_sigma_reach_weights_always_and_features_where_they_are_learned(learn_features: bool) -> None:
    x, weight, log_std = X.clone().requires_grad_(), W.clone().requires_grad_(), L.clone().requires_grad_()
    made = LatticeStateDependentDistribution(2, learn_features=learn_features, std_clip=(1e-3, 10.0))
    made.proba_distribution(th.zeros(1, 2), log_std, x, weight)
    made.log_prob(th.tensor([[0.5, -0.2]])).sum().backward()
    assert weight.grad is not None and log_std.grad is not None and weight.grad.abs().min() > 0.0
    assert (x.grad is not None) == learn_features


def test_a_silent_layer_has_finite_gradients() -> None:
    log_std = L.clone().requires_grad_()
    made = LatticeStateDependentDistribution(2, learn_features=True, squash_output=True)
    _, log_prob = made.log_prob_from_params(th.zeros(1, 2), log_std, th.zeros(1, 2, requires_grad=True), W)
    log_prob.sum().backward()
    assert log_std.grad is not None and th.isfinite(log_std.grad).all()


def test_k6_held_matrices_are_one_for_each_environment_and_change_every_so_many_steps() -> None:
    th.manual_seed(0)
    made, noise = state_dependent(3), []
    for _ in range(6):
        with made.exploring(sample_freq=3):
            noise.append(made.sample())
    assert all(th.equal(noise[0], one) for one in noise[1:3]) and all(th.equal(noise[3], one) for one in noise[4:])
    assert not th.equal(noise[0], noise[3])
    assert len({tuple(row.tolist()) for row in noise[0]}) == 3
    # Noise outside of it is fresh, and leaves what is held.
    assert not th.equal(made.sample(), made.sample())
    with made.exploring(sample_freq=4):
        assert th.equal(made.sample(), noise[3])

"""SDAC's mathematics against known answers."""

import math

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from helpers.small_diffusion import small_diffusion
from helpers.small_models import BoxEnv

from sb3_qflex.common.diffusion import NoiseAt, NoiseSchedule, posterior_chain
from sb3_qflex.common.diffusion_networks import Temperature
from sb3_qflex.sdac.objectives import (
    Values,
    averaged_noise,
    effective_samples,
    noise_entropy,
    reverse_goal,
    reverse_weights,
    reweighted_loss,
)
from sb3_qflex.sdac.sdac import SDAC

SCHEDULE = NoiseSchedule("linear", 20, 0.8)


def generator(seed: int = 0) -> th.Generator:
    return th.Generator().manual_seed(seed)


def quadratic(k: float, mean: th.Tensor):
    return lambda actions: -0.5 * k * (actions - mean).square().sum(dim=-1)


def test_the_averaged_noise_of_a_quadratic_q() -> None:
    t, k, mean = th.tensor([3]), 25.0, th.tensor([0.3, -0.1])
    noises = th.randn(1, 2_000_000, 2, generator=generator())
    x = th.tensor([[0.1, 0.2]])
    weights = reverse_weights(quadratic(k, mean), x, noises, t, SCHEDULE, 1.0)
    s, c = SCHEDULE.steps[3]["noise_ratio"], x * SCHEDULE.steps[3]["signal_inverse"]
    assert s == pytest.approx(0.552095, abs=1e-6)
    found = averaged_noise(noises, weights)
    th.testing.assert_close(found, k * s * (c - mean) / (1 + k * s**2), atol=0.02, rtol=0.0)
    th.testing.assert_close(found, th.tensor([[-0.29745, 0.52591]]), atol=0.02, rtol=0.0)


def test_a_constant_q_weights_all_draws_alike() -> None:
    noises = th.randn(5, 64, 3, generator=generator())
    values = lambda actions: th.full(actions.shape[:2], 7.0)  # noqa: E731
    weights = reverse_weights(values, th.zeros(5, 3), noises, th.full((5,), 8), SCHEDULE, 5.0)
    assert th.equal(weights, th.full((5, 64), 1 / 64))
    assert effective_samples(weights).item() == pytest.approx(64.0)


def test_the_averaged_target_has_the_gradient_of_the_64_fold_loss() -> None:
    noises, eps = th.randn(6, 64, 3, generator=generator()), th.randn(6, 3, generator=generator(1)).requires_grad_()
    weights = th.softmax(3.0 * th.randn(6, 64, generator=generator(2)), dim=1)
    (many,) = th.autograd.grad(reweighted_loss(eps, noises, weights), eps)
    (one,) = th.autograd.grad((eps - averaged_noise(noises, weights)).square().mean(), eps)
    th.testing.assert_close(one, 64 * many, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("action_dim", [1, 39])
def test_alpha_falls_on_its_course_whatever_the_number_of_actuators(action_dim: int) -> None:
    def course(rate: float, steps: tuple[int, ...]) -> list[float]:
        temperature, found = Temperature(5.0), []
        optimizer = th.optim.Adam(temperature.parameters(), lr=rate)
        for step in range(1, max(steps) + 1):
            optimizer.zero_grad()
            temperature.loss(noise_entropy(temperature.alpha(), action_dim), -0.9 * action_dim).backward()
            optimizer.step()
            if step in steps:
                found.append(temperature.alpha().item())
        return found

    assert course(7e-3, (100, 232, 400, 800)) == pytest.approx([2.632, 1.481, 1.075, 0.984], abs=2e-3)
    assert course(3e-4, (250,)) == pytest.approx([4.642], abs=2e-3)
    fixed_point = 10 * math.exp(-0.9) / math.sqrt(2 * math.pi * math.e)
    assert fixed_point == pytest.approx(0.983780, abs=1e-6)
    assert noise_entropy(th.tensor(fixed_point), action_dim).item() == pytest.approx(-0.9 * action_dim, rel=1e-5)


# --- One state, with Q itself in the place of critics ---


def two_modes(actions: th.Tensor) -> th.Tensor:
    a = actions.squeeze(-1)
    return 5.0 * ((-((a - 0.6) ** 2) / 0.02).exp() + (-((a + 0.6) ** 2) / 0.02).exp())


def best_noise(values: Values, n_samples: int, repeats: int) -> NoiseAt:
    """The noise predictor with the smallest loss, on a grid of x: the mean of the averaged noises there."""
    draw, points = generator(3), th.linspace(-4.0, 4.0, 161)
    x = points.repeat(repeats).unsqueeze(1)
    tables = []
    for t in range(20):
        noises, steps = th.randn(len(x), n_samples, 1, generator=draw), th.full((len(x),), t)
        weights = reverse_weights(values, x, noises, steps, SCHEDULE, 1.0)
        tables.append(averaged_noise(noises, weights).view(repeats, -1).mean(dim=0))

    def eps_hat(x: th.Tensor, t: int) -> th.Tensor:
        place = (x.clamp(-3.99, 3.99) + 4.0) / 0.05
        low = place.long()
        return th.lerp(tables[t][low], tables[t][low + 1], place - low)

    return eps_hat


def assert_two_modes(actions: th.Tensor) -> None:
    assert 0.4 <= (actions > 0).double().mean() <= 0.6
    assert (actions.abs() < 0.2).double().mean() < 0.08


def test_the_targets_lead_to_both_of_two_modes() -> None:
    noise = th.randn(20, 1000, 1, generator=generator(9))
    assert_two_modes(posterior_chain(best_noise(two_modes, 64, 100), noise, SCHEDULE))


def test_the_targets_of_a_quadratic_lead_to_the_variance_of_twenty_coarse_steps() -> None:
    # exp(Q) is N(0.3, 0.2^2): the variance is that of the chain with the exact score, and not 0.04. With many draws:
    # those of 64 lean to the mean of all.
    eps_hat = best_noise(quadratic(25.0, th.tensor([0.3])), 1024, 5)
    actions = posterior_chain(eps_hat, th.randn(20, 20_000, 1, generator=generator(9)), SCHEDULE)
    assert actions.var().item() == pytest.approx(0.0151, rel=0.25)
    assert actions.mean().item() == pytest.approx(0.3, abs=0.03)


@pytest.mark.slow
def test_a_policy_learns_both_of_two_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"learning_rate": 3e-3, "policy_lr_begin": 1000, "policy_lr_steps": 1000}
    env = BoxEnv(action_space=gym.spaces.Box(-1.0, 1.0, (1,), np.float32))
    wide = {"net_arch": [128, 128]}
    model = small_diffusion(SDAC, env, n_particles=1, noise_scale=0.0, diffusion_steps=20, policy_kwargs=wide, **rates)
    monkeypatch.setattr(model.policy, "values", lambda observations, actions: two_modes(actions))
    observations = th.zeros(256, 3)
    for _ in range(2000):
        goal, _ = reverse_goal(model.policy, observations, 64, th.tensor(5.0))
        model.update_policy(goal)
    assert_two_modes(model.policy.sample(th.zeros(1000, 3)))

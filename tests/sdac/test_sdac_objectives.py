"""SDAC's mathematics against known answers."""

import math

import pytest
import torch as th

from sb3_qflex.common.diffusion import NoiseAt, NoiseSchedule, noised, posterior_chain
from sb3_qflex.common.diffusion_networks import Temperature
from sb3_qflex.sdac.objectives import (
    averaged_noise,
    effective_samples,
    noise_entropy,
    reverse_weights,
    reweighted_loss,
)

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


# --- One state: a table of eps over x for each t, which learns from Q itself ---


def learned_noise(values, rounds: int, samples: int = 20_000) -> NoiseAt:
    """
    What the policy of one state becomes when its noise predictor fits the weighted noises exactly: for each t the
    regression of them on x_t, on bins of it; x_t comes from the policy itself.
    """
    edges = th.linspace(-3.0, 3.0, 121)
    # The untrained predictor: x_0 = 0 as far as the schedule tells.
    tables = [((edges[:-1] + edges[1:]) / 2) * (1 - c["abar"]) ** -0.5 for c in SCHEDULE.steps]

    def eps_hat(x: th.Tensor, t: int) -> th.Tensor:
        return tables[t][(th.bucketize(x, edges) - 1).clamp(0, 119)]

    draw = generator(3)
    for _ in range(rounds):
        x0 = posterior_chain(eps_hat, th.randn(20, samples, 1, generator=draw), SCHEDULE)
        for t in range(20):
            x = noised(x0, th.full((samples,), t), th.randn(samples, 1, generator=draw), SCHEDULE)
            noises = th.randn(samples, 64, 1, generator=draw)
            weights = reverse_weights(values, x, noises, th.full((samples,), t), SCHEDULE, 1.0)
            target = averaged_noise(noises, weights).squeeze(1)
            bins = (th.bucketize(x.squeeze(1), edges) - 1).clamp(0, 119)
            count = th.bincount(bins, minlength=120)
            mean = th.zeros(120).index_add_(0, bins, target) / count.clamp(min=1)
            tables[t] = th.where(count > 20, mean, tables[t])
    return eps_hat


@pytest.mark.slow
def test_a_bandit_with_two_modes_keeps_both() -> None:
    def values(actions: th.Tensor) -> th.Tensor:
        a = actions.squeeze(-1)
        return 5.0 * ((-((a - 0.6) ** 2) / 0.02).exp() + (-((a + 0.6) ** 2) / 0.02).exp())

    eps_hat = learned_noise(values, rounds=3)
    actions = posterior_chain(eps_hat, th.randn(20, 1000, 1, generator=generator(9)), SCHEDULE).squeeze(1)
    assert 0.4 <= (actions > 0).double().mean() <= 0.6
    assert (actions.abs() < 0.2).double().mean() < 0.08


@pytest.mark.slow
def test_a_bandit_with_one_mode_has_the_variance_of_twenty_coarse_steps() -> None:
    # exp(Q) is N(0.3, 0.2^2); the chain gives 0.0151 of it, see the chain with the exact score.
    eps_hat = learned_noise(quadratic(25.0, th.tensor([0.3])), rounds=3)
    actions = posterior_chain(eps_hat, th.randn(20, 20_000, 1, generator=generator(9)), SCHEDULE)
    assert actions.var().item() == pytest.approx(0.0151, rel=0.25)
    assert actions.mean().item() == pytest.approx(0.3, abs=0.03)

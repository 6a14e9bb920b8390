"""Schedules, chains and time embedding against known answers, and the fast forms against the readable ones."""

import math

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from sb3_qflex.common.diffusion import (
    NoiseAt,
    NoiseSchedule,
    best_of,
    betas,
    embed_time,
    fixed_noise,
    noised,
    policy_learning_rate,
    posterior_chain,
    score_chain,
)
from sb3_qflex.common.diffusion_networks import NoisePredictor, Temperature
from sb3_qflex.common.fast.denoising import (
    HoistedMLP,
    blocks,
    has_fast_form,
    hoisted_noise,
    hoisted_values,
    scaled_mish_,
)
from sb3_qflex.common.losses import smallest
from sb3_qflex.common.networks import Critics

STATES, BOX = spaces.Box(-1.0, 1.0, (5,), np.float32), spaces.Box(-1.0, 1.0, (3,), np.float32)


def network(cls: type, **kwargs):
    th.manual_seed(0)
    return cls(
        observation_space=STATES,
        action_space=BOX,
        features_extractor=FlattenExtractor(STATES),
        features_dim=5,
        net_arch=[16, 16],
        **kwargs,
    ).eval()


@pytest.mark.parametrize(
    ("name", "scale", "known"),
    [
        ("linear", 0.8, {"beta": {0: 8e-5, 19: 0.7992}, "abar": {9: 0.109435, 19: 5.26838e-6}}),
        ("linear", 0.3, {"abar": {9: 0.473109, 19: 0.0346365}}),
        ("vp", 1.0, {"beta": {0: 0.0172249, 19: 0.3859169}, "abar": {9: 0.2759598, 19: 0.00640933}}),
    ],
)
def test_schedules(name: str, scale: float, known: dict) -> None:
    schedule = NoiseSchedule(name, 20, scale)
    for coefficient, values in known.items():
        for t, value in values.items():
            assert schedule.steps[t][coefficient] == pytest.approx(value, rel=1e-5)
            assert schedule.at(coefficient, th.tensor([t])).item() == pytest.approx(schedule.steps[t][coefficient])
    first = schedule.steps[0]
    assert (first["c1"], first["c2"]) == (1.0, 0.0)


def test_few_steps_of_vp_and_the_cosine_schedule() -> None:
    np.testing.assert_allclose(betas("vp", 5), [0.195875, 0.458819, 0.635781, 0.754878, 0.835031], atol=1e-6)
    # abar_t = f(t + 1) / f(0) until the cut; half-way, f is cos^2 of (0.5 + s)/(1 + s) pi/2.
    cosine = betas("cosine", 20)
    f = [math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2 for u in (0.5, 0.0)]
    assert np.cumprod(1.0 - cosine)[9] == pytest.approx(f[0] / f[1])
    assert cosine[-1] == 0.999


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("liner", 20), "beta_schedule='liner' is unknown, did you mean 'linear'"),
        (("linear", 0), "diffusion_steps must be an integer of at least 1, not 0"),
        (("linear", 20, 1.5), "beta_scale must be a number in .*, not 1.5"),
    ],
)
def test_bad_schedules_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        betas(*arguments)


def exact_noise(schedule: NoiseSchedule, mean: float, std: float) -> NoiseAt:
    """The true noise predictor of a Gaussian."""

    def eps_hat(x: th.Tensor, t: int) -> th.Tensor:
        abar = schedule.steps[t]["abar"]
        return (1 - abar) ** 0.5 * (x - abar**0.5 * mean) / (abar * std**2 + 1 - abar)

    return eps_hat


@pytest.mark.parametrize(("std", "variance"), [(0.2, 0.015139), (0.1, 0.0017624)])
@pytest.mark.parametrize("start_scale", [0.5, 1.0])
def test_the_posterior_chain_with_the_exact_score(std: float, variance: float, start_scale: float) -> None:
    schedule = NoiseSchedule("linear", 20, 0.8)
    noise = th.randn(20, 200_000, 1, generator=th.Generator().manual_seed(1))
    x = posterior_chain(exact_noise(schedule, 0.3, std), noise, schedule, start_scale)
    assert x.mean().item() == pytest.approx(0.3, abs=0.002)
    assert x.var().item() == pytest.approx(variance, rel=0.02)


def test_the_score_chain_is_the_ddpm_step() -> None:
    schedule = NoiseSchedule("vp", 5)
    noise = th.randn(5, 4, 2, generator=th.Generator().manual_seed(0))
    x = noise[0]
    for k, t in enumerate([4, 3, 2, 1, 0], start=1):
        beta, abar = betas("vp", 5)[t], np.cumprod(1 - betas("vp", 5))[t]
        x = (x - beta / math.sqrt(1 - abar) * 0.1) / math.sqrt(1 - beta)
        x = (x + (math.sqrt(beta) * noise[k] if t > 0 else 0.0)).clamp(-1, 1)
    th.testing.assert_close(score_chain(lambda x, t: th.full_like(x, 0.1), noise, schedule), x)


def test_the_embedding_of_time() -> None:
    e = embed_time(th.tensor([3]))[0]
    th.testing.assert_close(e[[0, 1, 8, 9]], th.tensor([0.0352800, 0.2031622, -0.2474981, 0.1456884]))
    assert e.square().sum().item() == pytest.approx(0.5)


def test_actions_are_in_the_box_whatever_the_network_says() -> None:
    predictor = network(NoisePredictor)
    with th.no_grad():
        for parameter in predictor.parameters():
            parameter.mul_(100.0)
        for chain in (posterior_chain, score_chain):
            x = chain(predictor.at(th.randn(64, 5)), th.randn(20, 64, 3), NoiseSchedule("linear", 20, 0.8))
            assert x.abs().max() <= 1.0


def test_noised_actions_have_the_moments_of_the_forward_process() -> None:
    schedule, t = NoiseSchedule("vp", 20), th.full((100_000,), 5)
    x = noised(th.full((100_000, 1), 0.5), t, th.randn(100_000, 1, generator=th.Generator().manual_seed(0)), schedule)
    abar = schedule.steps[5]["abar"]
    assert x.mean().item() == pytest.approx(0.5 * abar**0.5, abs=0.01)
    assert x.var().item() == pytest.approx(1 - abar, rel=0.02)


def test_best_of_takes_the_largest_value_and_the_first_of_equals() -> None:
    actions = th.arange(12.0).view(2, 3, 2)
    chosen = best_of(actions, th.tensor([[0.0, 2.0, 2.0], [3.0, 1.0, 2.0]]))
    assert chosen.tolist() == [[2.0, 3.0], [6.0, 7.0]]


def test_fixed_noise_neither_reads_nor_moves_the_global_generator() -> None:
    th.manual_seed(0)
    first = fixed_noise(4, 2, 3)
    assert th.equal(th.rand(3), th.rand(3, generator=th.Generator().manual_seed(0)))
    assert th.equal(first, fixed_noise(4, 2, 3))
    assert abs(fixed_noise(20, 32, 39).std().item() - 1.0) < 0.02


def test_the_learning_rate_of_a_policy() -> None:
    rates = [policy_learning_rate(n, 3e-4, 3e-5, 100, 200) for n in (0, 100, 200, 300, 10_000)]
    assert rates == pytest.approx([3e-4, 3e-4, 1.65e-4, 3e-5, 3e-5])
    # A rate of critics that has fallen further already.
    assert policy_learning_rate(300, 1e-5, 3e-5, 100, 200) == 1e-5


def test_the_temperature_falls_while_the_entropy_is_above_its_target() -> None:
    temperature = Temperature(5.0)
    assert temperature.alpha().item() == pytest.approx(5.0)
    temperature.loss(2.0, 1.0).backward()
    assert temperature.log_alpha.grad.item() > 0


# --- The fast forms ---


def test_mish_in_place() -> None:
    x = th.cat([th.linspace(-30.0, 30.0, 1001), th.tensor([-200.0, 60.0, 200.0, 1e20])])
    expected = nn.functional.mish(x.double()).float()
    c = 1.0 / math.log(2.0)
    th.testing.assert_close(scaled_mish_(c * x, th.empty_like(x)) / c, expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("activation_fn", [nn.Mish, nn.ReLU])
@pytest.mark.parametrize("n_particles", [1, 4])
def test_the_fast_chain_equals_the_readable_one(activation_fn: type[nn.Module], n_particles: int) -> None:
    predictor, schedule = network(NoisePredictor, activation_fn=activation_fn), NoiseSchedule("linear", 20, 0.8)
    features, noise = th.randn(7, 5), th.randn(20, 7 * n_particles, 3)
    with th.no_grad():
        assert has_fast_form(predictor.net, predictor)
        fast = posterior_chain(hoisted_noise(predictor.net, features, predictor.time(th.arange(20))), noise, schedule)
        th.testing.assert_close(fast, posterior_chain(predictor.at(features, n_particles), noise, schedule))


def test_the_fast_values_equal_the_readable_ones() -> None:
    critic = network(Critics, activation_fn=nn.Mish)
    features, actions = th.randn(6, 5), th.rand(6, 4, 3)
    with th.no_grad():
        fast = hoisted_values(list(critic.q_networks), features, actions)
        readable = smallest(critic.q_values(features.repeat_interleave(4, dim=0), actions.flatten(0, 1)))
    th.testing.assert_close(fast, readable.view(6, 4))


def test_what_has_no_fast_form() -> None:
    predictor = network(NoisePredictor)
    assert not has_fast_form(predictor.net, predictor)  # gradients are on
    with th.no_grad():
        assert not has_fast_form(network(NoisePredictor, activation_fn=nn.Tanh).net, predictor)
        assert not has_fast_form(nn.Sequential(nn.Linear(2, 2)), predictor)
        handle = predictor.net[1].register_forward_hook(lambda *_: None)
        assert not has_fast_form(predictor.net, predictor)
        handle.remove()
        assert has_fast_form(predictor.net, predictor)
        assert HoistedMLP(predictor.net, 5).hoist(th.randn(2, 5)).shape == (2, 16)


def test_blocks_cover_all_states_once() -> None:
    assert [(one.start, one.stop) for one in blocks(70, 32)] == [(0, 32), (32, 64), (64, 96)]
    assert sum(len(range(70)[one]) for one in blocks(70, 5000)) == 70

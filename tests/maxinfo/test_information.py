"""Known answers of MaxInfoRL's mathematics, ensemble and normalisers."""

import math

import numpy as np
import pytest
import torch as th
from torch import nn

from sb3_qflex.maxinfo.ensemble import Ensemble, RunningNormalizer
from sb3_qflex.maxinfo.information import REFERENCES, InformationGain
from sb3_qflex.maxinfo.objectives import coordinate_weights, ensemble_loss, info_coef_loss, information_gain


@pytest.mark.parametrize(("correction", "expected"), [(1, 14.508658), (0, 13.815512)], ids=["torch", "jax"])
def test_k1_heads_at_0_and_2(correction: int, expected: float) -> None:
    weights = coordinate_weights(1, None)
    gain = information_gain(th.tensor([[[0.0]], [[2.0]]]), weights, correction)
    assert gain.item() == pytest.approx(expected, abs=2e-6)
    equal = th.full((2, 1, 1), 0.7, requires_grad=True)
    gain = information_gain(equal, weights, correction)
    assert gain.item() == 0.0
    assert th.equal(th.autograd.grad(gain.sum(), equal)[0], th.zeros(2, 1, 1))


@pytest.mark.parametrize(
    ("reference", "reward_weight", "expected"),
    [("torch", None, [0.25, 0.25, 0.5]), ("jax", None, [1 / 3, 1 / 3, 1 / 3]), ("jax", 0.2, [0.4, 0.4, 0.2])],
)
def test_the_rewards_weight_is_the_references_or_ones_own(
    reference: str, reward_weight: float | None, expected: list[float]
) -> None:
    information = InformationGain(2, 1, 2, [4], REFERENCES[reference], True, reward_weight)
    np.testing.assert_allclose(information.weights, expected, rtol=1e-6)
    np.testing.assert_allclose(information.loss_weights, [0.25, 0.25, 0.5], rtol=1e-6)
    without = InformationGain(2, 1, 2, [4], REFERENCES[reference], False, reward_weight)
    np.testing.assert_allclose(without.weights, [0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(without.loss_weights, [0.5, 0.5], rtol=1e-6)


def test_loss_is_the_mean_over_state_and_reward_of_their_mean_squared_errors() -> None:
    th.manual_seed(0)
    predictions, targets = th.randn(3, 5, 4), th.randn(5, 4)
    errors = (predictions - targets).square()
    expected = 0.5 * (errors[:, :, :3].mean() + errors[:, :, 3].mean())
    th.testing.assert_close(ensemble_loss(predictions, targets, coordinate_weights(3, 0.5)), expected)


@pytest.mark.parametrize(("gain", "slow_gain"), [(1.0, 2.0), (2.0, 1.0)])
def test_k3_lambda_rises_where_the_slow_policy_gains_more(gain: float, slow_gain: float) -> None:
    log_info_coef = th.zeros(1, requires_grad=True)
    optimizer = th.optim.Adam([log_info_coef], lr=0.01)
    info_coef_loss(log_info_coef, th.full((4,), gain), th.full((4,), slow_gain)).backward()
    optimizer.step()
    assert log_info_coef.item() == pytest.approx(math.copysign(0.01, slow_gain - gain), rel=1e-4)


@pytest.mark.parametrize("splits", [[40], [1, 39], [7, 13, 20], [20, 20]])
def test_k4_normaliser_equals_the_statistics_of_the_concatenation(splits: list[int]) -> None:
    values = th.as_tensor(np.random.default_rng(0).normal(3.0, 2.0, (40, 3)), dtype=th.float32)
    normalizer = RunningNormalizer((3,))
    assert (normalizer.mean == 0).all() and (normalizer.var == 1).all() and normalizer.count == 0
    for batch in values.split(splits):
        normalizer.update(batch)
    assert normalizer.count == 40
    np.testing.assert_allclose(normalizer.mean, values.double().mean(dim=0), rtol=1e-5)
    np.testing.assert_allclose(normalizer.var.sqrt(), values.double().std(dim=0, correction=0), rtol=1e-5)
    normalized = normalizer(values)
    np.testing.assert_allclose(normalized.mean(dim=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(normalized.std(dim=0, correction=0), 1.0, rtol=1e-5)


def test_normaliser_forgets_beyond_its_cap_floors_its_deviation_and_ignores_what_is_not_finite() -> None:
    capped, endless = RunningNormalizer((), cap=10.0), RunningNormalizer(())
    for normalizer in (capped, endless):
        normalizer.update(th.zeros(1000))
        th.testing.assert_close(normalizer(th.tensor([0.5])), th.tensor([500.0]))
        before = {name: value.clone() for name, value in normalizer.state_dict().items()}
        normalizer.update(th.tensor([1.0, math.nan]))
        assert all(th.equal(value, before[name]) for name, value in normalizer.state_dict().items())
        normalizer.update(th.ones(10))
    assert capped.mean.item() == pytest.approx(0.5) and capped.count == 10
    assert endless.mean.item() == pytest.approx(10 / 1010) and endless.count == 1010


def test_ensemble_is_its_heads_side_by_side() -> None:
    th.manual_seed(0)
    ensemble = Ensemble(3, 4, 2, [5, 6], nn.SiLU)
    x = th.randn(7, 4)
    result = ensemble(x)
    assert result.shape == (3, 7, 2)
    for head in range(3):
        z = x
        for index, (weight, bias) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
            z = z if index == 0 else nn.functional.silu(z)
            z = nn.functional.linear(z, weight[head].t(), bias[head, 0])
        th.testing.assert_close(result[head], z)
    assert all((weight[0] != weight[1]).all() for weight in ensemble.weights)
    bound = 1.0 / math.sqrt(6)
    assert 0.9 * bound < max(ensemble.weights[2].abs().max(), ensemble.biases[2].abs().max()) <= bound


@pytest.mark.parametrize("reference", REFERENCES)
def test_k5_a_linear_system_is_learned_where_it_was_visited(reference: str) -> None:
    th.manual_seed(0)
    change, effect = 0.3 * th.randn(2, 2), th.randn(1, 2)
    information = InformationGain(2, 1, 5, [32, 32], REFERENCES[reference])
    optimizer = th.optim.Adam(information.ensemble.parameters(), lr=3e-3, fused=True)

    def transitions(centre: float) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
        states, actions = centre + th.rand(128, 2) - 0.5, 2.0 * th.rand(128, 1) - 1.0
        return states, actions, states + states @ change + actions @ effect, states.sum(dim=1, keepdim=True)

    for _ in range(10):
        information.observe(*transitions(0.0))
    for step in range(2000):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1.0 - step / 2000)
        optimizer.zero_grad()
        loss = information.loss(*transitions(0.0))
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3
    with th.no_grad():
        visited, unvisited = (information.predict(*transitions(centre)[:2]).var(dim=0).mean() for centre in (0.0, 5.0))
        gains = [information(*transitions(centre)[:2]).mean() for centre in (0.0, 5.0)]
    assert unvisited > 100.0 * visited
    assert gains[1] > gains[0] + math.log(10.0)

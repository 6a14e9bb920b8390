"""FlowRL's mathematics against numbers derived by hand."""

from typing import Any

import pytest
import torch as th
from helpers.small_models import BoxEnv

from sb3_qflex import FlowRL
from sb3_qflex.common.losses import straight_path
from sb3_qflex.flowrl import flow
from sb3_qflex.flowrl.networks import flow_net, value_net

START = th.tensor([[-1.0, -0.3], [0.0, 0.8], [0.5, 1.0]])


def test_a_field_of_minus_a_ends_at_half_the_start() -> None:
    th.testing.assert_close(flow.integrate(lambda t, a: -a, START, 1), START / 2)
    # Each step multiplies by 1 - dt + dt^2 / 2.
    th.testing.assert_close(flow.integrate(lambda t, a: -a, START, 4), START * (1 - 1 / 4 + 1 / 32) ** 4)


@pytest.mark.parametrize("n_steps", [1, 3])
def test_a_constant_field_moves_by_itself(n_steps: int) -> None:
    c = th.tensor([0.7, -2.0])
    th.testing.assert_close(flow.integrate(lambda t, a: c.expand_as(a), START, n_steps), START + c)


def test_the_field_is_asked_at_the_start_and_in_the_middle_of_each_step() -> None:
    times: list[float] = []
    flow.integrate(lambda t, a: times.append(t) or a, START, 2)  # type: ignore[func-returns-value]
    assert times == [0.0, 0.25, 0.5, 0.75]


def model(**options: Any) -> FlowRL:
    arguments = {"policy_kwargs": {"net_arch": [8]}, "buffer_size": 100, "device": "cpu", "seed": 0, **options}
    return FlowRL("MlpPolicy", BoxEnv(), **arguments)


@pytest.mark.parametrize("c", [0.0, 0.4])
def test_the_policy_acts_by_one_midpoint_step_and_a_tanh(c: float) -> None:
    policy = model().policy
    last = policy.actor.net[-1]
    th.nn.init.zeros_(last.weight)
    th.nn.init.constant_(last.bias, c)
    obs = th.rand(5, 3)
    th.testing.assert_close(policy(obs, deterministic=True), th.full((5, 2), c).tanh())
    th.manual_seed(0)
    start = th.randn(5, 2).clamp(-1.0, 1.0)
    th.manual_seed(0)
    th.testing.assert_close(policy(obs), (start + c).tanh())


def test_samples_start_in_the_box() -> None:
    th.manual_seed(0)
    start = flow.clipped_normal(th.empty(20_000, 1))
    assert start.abs().max() == 1.0
    # P(|N| > 1) = 0.3173.
    assert float((start.abs() == 1.0).float().mean()) == pytest.approx(0.3173, abs=0.013)


def test_the_expectile_of_zero_and_one_in_equal_shares() -> None:
    targets, value = th.tensor([0.0, 1.0]), th.tensor(0.3, dtype=th.float64, requires_grad=True)
    for _ in range(300):
        (gradient,) = th.autograd.grad(flow.expectile_loss(targets - value, 0.9), value)
        value = (value - 0.5 * gradient).detach().requires_grad_()
    assert value.item() == pytest.approx(0.9, abs=1e-6)
    assert flow.expectile_loss(th.tensor([-2.0, 1.0]), 0.9).item() == pytest.approx((0.1 * 4 + 0.9 * 1) / 2)


def test_one_target_step_leaves_a_twentieth_of_the_old_weights() -> None:
    policy = model().policy
    old = {name: value.clone() for name, value in policy.state_dict().items()}
    with th.no_grad():
        for network, _ in policy.targets():
            for parameter in network.parameters():
                parameter.add_(th.randn_like(parameter))
    policy.update_targets(0.95)
    new = policy.state_dict()
    targets = [name for name in new if "_target." in name]
    assert len(targets) == len([name for name in new if name.startswith(("critic.", "buffer_critic."))]) > 0
    for name in targets:
        th.testing.assert_close(new[name], 0.05 * old[name] + 0.95 * new[name.replace("_target", "")])


def test_weights_of_equal_and_of_unequal_excess() -> None:
    clip = (1e-3, 1.0)
    policy_q = th.tensor([3.0, -1.0])
    assert flow.excess_weight(policy_q + 2.0, policy_q, 0.1, clip).tolist() == pytest.approx([0.1, 0.1])
    assert flow.excess_weight(policy_q - 2.0, policy_q, 0.1, clip).tolist() == pytest.approx([0.1, 0.1])
    weight = flow.excess_weight(policy_q + th.tensor([0.0, 10.0]), policy_q.requires_grad_(), 0.1, clip)
    assert weight.tolist() == pytest.approx([1e-3, 1.0])
    assert not weight.requires_grad
    # 0.1 exp(+-0.5), between the ends.
    inner = flow.excess_weight(th.tensor([0.0, 1.0]), th.zeros(2), 0.1, clip)
    assert inner.tolist() == pytest.approx([0.1 * 0.60653, 0.1 * 1.64872], rel=1e-4)


def test_batch_weighting_is_the_product_of_means_and_sample_weighting_is_not() -> None:
    q, weight, error = th.tensor([1.0, 3.0]), th.tensor([0.2, 1.0]), th.tensor([4.0, 1.0])
    assert flow.actor_loss(q, weight, error, "batch").item() == pytest.approx(-2.0 + 0.6 * 2.5)
    assert flow.actor_loss(q, weight, error, "sample").item() == pytest.approx(-2.0 + (0.8 + 1.0) / 2)


def test_path_error_and_latent() -> None:
    start, end, t = th.tensor([[0.0, -1.0]]), th.tensor([[1.0, 1.0]]), th.tensor([[0.25]])
    x_t, path_velocity = straight_path(start, end, t)
    assert (x_t.tolist(), path_velocity.tolist()) == ([[0.25, -0.5]], [[1.0, 2.0]])
    assert flow.matching_error(th.zeros(1, 2), path_velocity).tolist() == [2.5]
    latent = flow.to_latent(th.tensor([-1.0, 0.5, 1.0])).tanh()
    th.testing.assert_close(latent, th.tensor([-0.999, 0.5, 0.999]))


def kinds(net: th.nn.Sequential) -> str:
    return " ".join(type(layer).__name__ for layer in net)


def test_networks_have_the_layers_of_the_specification() -> None:
    assert kinds(flow_net(4, 2, [512, 512], th.nn.ELU)) == "Linear LayerNorm ELU Linear LayerNorm ELU Linear"
    net = value_net(4, [512, 512])
    assert kinds(net) == ("Linear LayerNorm Linear LayerNorm GELU Linear LayerNorm GELU Linear LayerNorm Linear")
    linears = [layer for layer in net if isinstance(layer, th.nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linears] == [(512, 4), *[(512, 512)] * 3, (1, 512)]
    for layer in linears:
        outputs, inputs = layer.weight.shape
        bound = (6 / (inputs + outputs)) ** 0.5
        assert 0.9 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()
    assert [layer.weight.shape for layer in value_net(4, [8, 16]) if isinstance(layer, th.nn.Linear)] == [
        (8, 4), (8, 8), (16, 8), (16, 16), (1, 16)
    ]  # fmt: skip

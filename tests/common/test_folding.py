"""The folded fast path against the readable definitions it replaces."""

import logging
from functools import partial

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import nn

from sb3_qflex import QFlexPolicy
from sb3_qflex.common.action_gradient import action_gradient
from sb3_qflex.common.fast import folding
from sb3_qflex.common.fast.fold_cache import FoldCache
from sb3_qflex.common.fast.folding import FoldedMLP, NotFoldableError, folded_q_gradient, folded_velocity
from sb3_qflex.common.fast.single_observation import SingleRow
from sb3_qflex.common.losses import smallest
from sb3_qflex.common.networks import RenormMLP, renorm_mlp
from sb3_qflex.qflex.flow import integrate
from sb3_qflex.qflex.guidance import ascend

OBS_DIM, BATCH = 11, 64


def trained_mlp(input_dim: int, output_dim: int, net_arch: list[int], batch_norm: bool = True) -> nn.Sequential:
    """A random network whose BatchRenorm layers have statistics and affine parameters far from their start."""
    mlp = renorm_mlp(input_dim, output_dim, net_arch, nn.ReLU, {} if batch_norm else None).double()
    with th.no_grad():
        for parameter in mlp.parameters():
            parameter.add_(0.1 * th.randn_like(parameter))
        for _ in range(12):
            mlp(th.randn(32, input_dim, dtype=th.double) * 2 + 1)
    return mlp.eval()


def random_critics(action_dim: int, n_critics: int, net_arch: list[int], **kwargs) -> list[nn.Sequential]:
    th.manual_seed(action_dim + 10 * n_critics)
    return [trained_mlp(OBS_DIM + action_dim, 1, net_arch, **kwargs) for _ in range(n_critics)]


def states_and_actions(action_dim: int, batch: int = BATCH) -> tuple[th.Tensor, th.Tensor]:
    return th.randn(batch, OBS_DIM, dtype=th.double), th.rand(batch, action_dim, dtype=th.double) * 2 - 1


def plain_q_gradient(critics: list[nn.Sequential], obs: th.Tensor):
    return partial(action_gradient, lambda a: th.stack([q(th.cat([obs, a], 1)).squeeze(1) for q in critics]))


def fast_q_gradient(critics: list[nn.Sequential], obs: th.Tensor):
    with th.no_grad():
        return folded_q_gradient([FoldedMLP(critic, OBS_DIM) for critic in critics], obs)


def assert_same_gradient(critics: list[nn.Sequential], action_dim: int, **ascend_kwargs) -> None:
    obs, actions = states_and_actions(action_dim)
    plain = ascend(plain_q_gradient(critics, obs), actions, 20, 0.01, **ascend_kwargs)
    fast = ascend(fast_q_gradient(critics, obs), actions, 20, 0.01, **ascend_kwargs)
    for expected, got in zip(plain, fast, strict=True):
        th.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("action_dim", [1, 2, 39, 216, 700])
def test_guided_target_by_number_of_actuators(action_dim: int) -> None:
    assert_same_gradient(random_critics(action_dim, 2, [32, 24, 16]), action_dim)


@pytest.mark.parametrize("n_critics", [1, 2, 3, 5])
def test_guided_target_by_number_of_critics(n_critics: int) -> None:
    assert_same_gradient(random_critics(7, n_critics, [32, 24]), 7)


@pytest.mark.parametrize("net_arch", [[], [16], [16, 16, 16, 16]])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_guided_target_by_architecture(net_arch: list[int], batch_norm: bool) -> None:
    assert_same_gradient(random_critics(5, 2, net_arch, batch_norm=batch_norm), 5)


def test_guided_target_with_a_preconditioner() -> None:
    metric = th.rand(6, dtype=th.double) + 0.5
    assert_same_gradient(random_critics(6, 2, [32, 32]), 6, preconditioner=metric)


def test_guided_target_where_one_critic_is_always_smaller() -> None:
    critics = random_critics(6, 2, [32, 32])
    with th.no_grad():
        critics[0][-1].bias.add_(1e3)
    assert_same_gradient(critics, 6)


def test_guided_target_at_ties() -> None:
    (critic,) = random_critics(6, 1, [32, 32])
    assert_same_gradient([critic, critic], 6)


def test_backward_by_mask_equals_backward_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form for devices where sizes that depend on the data would synchronise."""
    critics = random_critics(6, 3, [32, 32])
    monkeypatch.setattr(folding, "_backward_by_rows", folding._backward_by_mask)
    assert_same_gradient(critics, 6)


def test_float32_agrees_on_nearly_all_samples() -> None:
    """Kinks of ReLU: a few samples may fall on the other side."""
    critics = [critic.float() for critic in random_critics(39, 2, [256, 256, 256])]
    obs, actions = (x.float() for x in states_and_actions(39, batch=1024))
    plain = ascend(plain_q_gradient(critics, obs), actions, 20, 0.01).target_actions
    fast = ascend(fast_q_gradient(critics, obs), actions, 20, 0.01).target_actions
    assert ((plain - fast).abs().amax(dim=1) < 1e-4).double().mean() >= 0.99


def test_a_feature_far_from_zero_keeps_its_digits_in_float32() -> None:
    """Mean 1000 and standard deviation 0.1: folded into the weights, this column would drown in rounding."""
    th.manual_seed(0)
    mlp = renorm_mlp(2, 1, [8], nn.ReLU, {})
    data = th.cat([1000 + 0.1 * th.randn(64, 1), th.randn(64, 1)], dim=1)
    for _ in range(12):
        mlp(data)
    folded = FoldedMLP(mlp.eval(), 1)
    with th.no_grad():
        got = folded.propagate(th.addmm(folded.hoist(data[:, :1]), data[:, 1:], folded.input_weight.t()))
        exact = mlp.double()(data.double())
    th.testing.assert_close(got.double(), exact, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("action_dim", [1, 39, 300])
@pytest.mark.parametrize("net_arch", [[], [16], [32, 24, 16]])
def test_flow(action_dim: int, net_arch: list[int]) -> None:
    th.manual_seed(0)
    field = trained_mlp(OBS_DIM + action_dim + 1, action_dim, net_arch)
    obs, actions = states_and_actions(action_dim)

    def plain(t: float, a: th.Tensor) -> th.Tensor:
        return field(th.cat([obs, a, a.new_full((BATCH, 1), t)], dim=1))

    with th.no_grad():
        expected = integrate(plain, actions, 7)
        got = integrate(folded_velocity(FoldedMLP(field, OBS_DIM), obs), actions, 7)
    th.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    "layers, named",
    [
        ([nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)], "Tanh"),
        ([nn.LayerNorm(3), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)], "LayerNorm"),
        ([nn.Linear(3, 4), nn.Linear(4, 1)], "Linear"),
        ([nn.Linear(3, 4), nn.ReLU()], "ReLU"),
    ],
)
def test_other_layers_are_refused_by_name(layers: list[nn.Module], named: str) -> None:
    with pytest.raises(NotFoldableError, match=named):
        FoldedMLP(nn.Sequential(*layers), 2)


@pytest.mark.parametrize("action_dim, net_arch", [(1, [16]), (5, []), (80, [32, 24, 16]), (300, [24, 32])])
@pytest.mark.parametrize("n_steps", [1, 7])
def test_flow_of_a_single_observation(action_dim: int, net_arch: list[int], n_steps: int) -> None:
    th.manual_seed(action_dim)
    net = trained_mlp(OBS_DIM + action_dim + 1, action_dim, net_arch)
    obs, actions = states_and_actions(action_dim)
    with th.no_grad():
        # Velocities on both sides of the clip at 1 / dt.
        scale = th.linspace(0.1, 4.0, action_dim, dtype=th.double) * n_steps
        net[-1].weight.mul_(scale[:, None])
        net[-1].bias.mul_(scale)
        batch = integrate(folded_velocity(FoldedMLP(net, OBS_DIM), obs), actions, n_steps)
        row = SingleRow(net)
        singles = [row.integrate(obs[i : i + 1], actions[i : i + 1], n_steps) for i in range(5)]
    th.testing.assert_close(th.cat(singles), batch[:5], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("net_arch", [[], [16], [24, 16]])
def test_a_single_row_has_the_values_of_the_moment(net_arch: list[int]) -> None:
    net = trained_mlp(OBS_DIM, 4, net_arch)
    row, obs = SingleRow(net), th.randn(1, OBS_DIM, dtype=th.double)
    for factor in (0.5, 3.0):
        for parameter in net.parameters():
            parameter.data.mul_(factor)
        th.testing.assert_close(row.propagate(obs), net(obs), atol=1e-9, rtol=1e-9)


def make_policy(**kwargs) -> QFlexPolicy:
    th.manual_seed(0)
    space = spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32)
    kwargs = {"net_arch": [16, 16], **kwargs}
    return QFlexPolicy(space, spaces.Box(-1, 1, (4,), np.float32), lambda _: 1e-3, **kwargs)


@pytest.mark.parametrize("n_critics", [1, 2, 5])
def test_min_q_and_its_gradient_by_the_action(n_critics: int) -> None:
    policy, obs = make_policy(n_critics=n_critics), th.randn(BATCH, OBS_DIM)
    actions = (th.rand(BATCH, 4) * 2 - 1).requires_grad_(True)
    weights = th.randn(BATCH)
    values = policy.min_q(obs, actions)
    (gradient,) = th.autograd.grad((weights * values).sum(), actions)
    expected = smallest(policy.critic.q_values(policy.critic.encode(obs), actions))
    (expected_gradient,) = th.autograd.grad((weights * expected).sum(), actions)
    th.testing.assert_close(values, expected, atol=1e-5, rtol=1e-5)
    th.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, BATCH])
def test_the_policy_uses_both_paths_with_the_same_result(caplog: pytest.LogCaptureFixture, batch: int) -> None:
    policy, obs = make_policy(), th.randn(batch, OBS_DIM)
    start = th.rand(batch, 4) * 2 - 1
    fast = policy.flow(obs, start), policy.ascend(obs, start).target_actions, policy.source(obs, deterministic=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "fold", lambda *args: None)
        patch.setattr(RenormMLP, "forward", nn.Sequential.forward)
        plain = policy.flow(obs, start), policy.ascend(obs, start).target_actions, policy.source(obs, True)
    for got, expected in zip(fast, plain, strict=True):
        th.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert "plain path" not in caplog.text


@th.no_grad()
def test_other_activations_fall_back_with_a_logged_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="sb3_qflex")
    policy = make_policy(activation_fn=nn.Tanh)
    policy._predict(th.zeros(2, OBS_DIM))
    policy.ascend(th.zeros(2, OBS_DIM), th.zeros(2, 4))
    reasons = [record.message for record in caplog.records]
    assert sorted(reason.split(" network")[0].split()[-1] for reason in reasons) == ["critic", "field"]
    assert all("Tanh" in reason for reason in reasons)


@pytest.mark.parametrize("change", ["optimizer", "in_place", "load_state_dict", "vector", "statistics"])
def test_folded_networks_follow_every_change_of_the_parameters(change: str) -> None:
    policy, obs = make_policy(), th.randn(8, OBS_DIM)
    other = make_policy()
    with th.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.3 * th.randn_like(parameter))
    with th.no_grad():
        before = policy._predict(obs, deterministic=True)
    if change == "optimizer":
        for parameter in policy.field.parameters():
            parameter.grad = th.ones_like(parameter)
        policy.field.optimizer.step()
    elif change == "in_place":
        with th.no_grad():
            policy.field.net[1].weight.mul_(3.0)
    elif change == "load_state_dict":
        policy.load_state_dict(other.state_dict())
    elif change == "vector":
        policy.load_from_vector(other.parameters_to_vector())
    else:
        policy.field.train()
        policy.field(obs, th.randn(8, 4), th.rand(8, 1))
        policy.field.eval()
    with th.no_grad():
        after = policy._predict(obs, deterministic=True)
    assert not th.allclose(before, after, atol=1e-4)
    policy._folded = FoldCache()
    th.testing.assert_close(policy._predict(obs, deterministic=True), after)

"""Critics in bfloat16: near to those of float32, for flow targets alone, and only where they are faster."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers.small_models import BoxEnv, assert_same, observations, parameters, small_model
from torch import nn
from torch.nn import functional as F

from sb3_qflex import QFlexPolicy
from sb3_qflex.common.fast import folding
from sb3_qflex.common.fast.folding import FoldedMLP, folded_min_q, folded_q_gradient
from sb3_qflex.common.networks import renorm_mlp
from sb3_qflex.qflex.guidance import ascend
from sb3_qflex.qflex.objectives import field_objective


def critics(obs_dim: int, action_dim: int, net_arch: list[int], n_critics: int = 2) -> list[FoldedMLP]:
    """Random ones with statistics far from their start."""
    folded = []
    for _ in range(n_critics):
        mlp = renorm_mlp(obs_dim + action_dim, 1, net_arch, nn.ReLU, {})
        with th.no_grad():
            for _ in range(12):
                mlp(th.randn(64, obs_dim + action_dim) * 2 + 1)
        folded.append(FoldedMLP(mlp.eval(), obs_dim))
    return folded


@pytest.mark.parametrize("step_size", [0.01, 0.03])
@pytest.mark.parametrize(
    "obs_dim, action_dim, net_arch, n_critics",
    [(11, 6, [32, 24], 2), (11, 2, [32, 32, 32], 3), (5, 3, [], 2), (7, 4, [64], 1), (403, 80, [256, 256, 256], 2)],
)
@th.no_grad()
def test_both_types_lead_to_the_same_place(
    obs_dim: int, action_dim: int, net_arch: list[int], n_critics: int, step_size: float
) -> None:
    exact = critics(obs_dim, action_dim, net_arch, n_critics)
    rounded = [critic.rounded(th.bfloat16) for critic in exact]
    obs, start = th.randn(256, obs_dim), th.rand(256, action_dim) * 2 - 1
    ways = []
    for networks in (exact, rounded):
        guidance = ascend(folded_q_gradient(networks, obs), start, 20, step_size)
        assert guidance.target_actions.dtype == guidance.first_gradient.dtype == th.float32
        ways.append(guidance.target_actions - start)
    assert F.cosine_similarity(*ways, dim=1).mean() > 0.99
    # Against the diameter of the box, and against the way itself.
    error = (ways[1] - ways[0]).norm(dim=1)
    assert error.mean() < 0.01 * 2.0 * action_dim**0.5
    assert 0.0 < error.mean() < 0.2 * ways[0].norm(dim=1).mean()


@th.no_grad()
def test_values_keep_their_digits() -> None:
    """Which critic is the smallest hangs on small differences, so the output is summed in float32."""
    exact = critics(11, 6, [64, 64])
    obs, actions = th.randn(200, 11), th.rand(200, 6) * 2 - 1
    for critic in exact:
        critic.layers[-1].bias.add_(1000.0)  # where neighbouring numbers of bfloat16 are 4 apart
    values, _ = folded_min_q([critic.rounded(th.bfloat16) for critic in exact], obs)(actions)
    th.testing.assert_close(values, folded_min_q(exact, obs)(actions).values, atol=0.1, rtol=0.0)


@th.no_grad()
def test_backward_by_mask_and_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rounded = [critic.rounded(th.bfloat16) for critic in critics(11, 6, [32, 24], 3)]
    obs, actions = th.randn(100, 11), th.rand(100, 6) * 2 - 1
    by_rows = folded_min_q(rounded, obs)(actions)
    monkeypatch.setattr(folding, "_backward_by_rows", folding._backward_by_mask)
    by_mask = folded_min_q(rounded, obs)(actions)
    for one, other in zip(by_rows, by_mask, strict=True):
        th.testing.assert_close(one, other, atol=0.02, rtol=0.02)


def make_policy(**kwargs) -> QFlexPolicy:
    th.manual_seed(0)
    space = spaces.Box(-np.inf, np.inf, (5,), np.float32)
    kwargs = {"net_arch": [16, 16], "guidance_dtype": "bfloat16", **kwargs}
    return QFlexPolicy(space, spaces.Box(-1, 1, (4,), np.float32), lambda _: 1e-3, **kwargs)


def test_where_it_is_not_faster_float32_stays_with_one_warning(fast: bool, caplog: pytest.LogCaptureFixture) -> None:
    policy, obs, start = make_policy(), th.randn(8, 5), th.rand(8, 4) * 2 - 1
    exact = policy.ascend(obs, start).target_actions
    rounded = [policy.ascend(obs, start, policy.guidance_dtype).target_actions for _ in range(2)]
    assert th.equal(*rounded)
    assert th.equal(rounded[0], exact) != fast
    assert caplog.text.count("Guidance stays in float32 instead of bfloat16") == (0 if fast else 1)
    assert fast or "not faster on this cpu device" in caplog.text


def test_where_nothing_folds_float32_stays_with_one_warning(fast: bool, caplog: pytest.LogCaptureFixture) -> None:
    policy, obs, start = make_policy(activation_fn=nn.Tanh), th.randn(8, 5), th.rand(8, 4) * 2 - 1
    exact = policy.ascend(obs, start).target_actions
    for _ in range(2):
        assert th.equal(policy.ascend(obs, start, "bfloat16").target_actions, exact)
    assert caplog.text.count("Guidance stays in float32 instead of bfloat16") == 1
    assert "no folded form" in caplog.text


def test_training_takes_it_for_flow_targets_and_acting_never(fast: bool) -> None:
    models = {dtype: small_model(BoxEnv(), guidance_dtype=dtype).learn(21) for dtype in ("float32", "bfloat16")}
    exact, rounded = (parameters(model) for model in models.values())
    # The first update: what reads a flow target is the field alone.
    changed = {name.split(".")[0] for name, value in exact.items() if not th.equal(value, rounded[name])}
    assert changed == ({"field"} if fast else set())
    model = models["float32"]
    model.exploration = "ascent"
    actions = []
    for dtype in models:
        model.guidance_dtype = dtype
        actions.append(model.predict(observations(model), deterministic=True)[0])
    np.testing.assert_array_equal(*actions)


@pytest.mark.usefixtures("fast")
def test_the_field_alone_gets_a_gradient() -> None:
    policy = make_policy()
    before = {name: value.clone() for name, value in policy.critic.state_dict().items()}
    field_objective(policy, th.randn(8, 5)).backward()
    with_gradient = {name.split(".")[0] for name, one in policy.named_parameters() if one.grad is not None}
    assert with_gradient == {"field"}
    assert_same(before, dict(policy.critic.state_dict()))

"""Each objective touches the parameters and the statistics of its own network alone, shared extractor or not."""

from collections.abc import Callable

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import nn

from sb3_qflex import QFlexPolicy
from sb3_qflex.common.guard import LearnerGuard
from sb3_qflex.qflex.objectives import critic_objective, field_objective, source_objective

OBS_DIM, ACTION_DIM, BATCH = 5, 3, 16


class NormalisingExtractor(BaseFeaturesExtractor):
    """Has parameters, and statistics that only train mode changes."""

    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space, features_dim=4)
        self.net = nn.Sequential(nn.Linear(OBS_DIM, 4), nn.BatchNorm1d(4))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.net(observations)


def make_policy(share: bool, **kwargs) -> QFlexPolicy:
    th.manual_seed(0)
    return QFlexPolicy(
        spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float32),
        spaces.Box(-1, 1, (ACTION_DIM,), np.float32),
        lambda _: 1e-2,
        net_arch=[8, 8],
        features_extractor_class=NormalisingExtractor,
        share_features_extractor=share,
        **kwargs,
    )


def make_batch() -> ReplayBufferSamples:
    generator = th.Generator().manual_seed(1)
    draw = lambda *shape: th.randn(*shape, generator=generator)  # noqa: E731
    return ReplayBufferSamples(
        draw(BATCH, OBS_DIM), draw(BATCH, ACTION_DIM).tanh(), draw(BATCH, OBS_DIM), th.zeros(BATCH, 1), draw(BATCH, 1)
    )


OBJECTIVES: dict[str, Callable[[QFlexPolicy, ReplayBufferSamples], th.Tensor]] = {
    "critic": lambda policy, batch: critic_objective(policy, batch, 0.99, "flow", None),
    "actor": lambda policy, batch: source_objective(policy, batch.observations, None)[0],
    "field": lambda policy, batch: field_objective(policy, batch.next_observations),
}


def own_part(network: str, key: str, share: bool) -> bool:
    """Whether the network's objective may change this entry of the policy's state."""
    if share and "features_extractor" in key:
        return network == "actor"  # registered under every network, trained by the source policy alone
    return key.startswith(network)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("network", OBJECTIVES)
def test_objective_changes_its_own_network_alone(network: str, share: bool) -> None:
    policy, batch = make_policy(share), make_batch()
    before = {key: value.clone() for key, value in policy.state_dict().items()}
    loss = OBJECTIVES[network](policy, batch)
    assert not any(module.training for module in policy.modules()), "back in eval mode"
    LearnerGuard().step(getattr(policy, network).optimizer, loss, network, 1)
    changed = {key for key, value in policy.state_dict().items() if not th.equal(before[key], value)}
    assert changed, "the step did something"
    assert all(own_part(network, key, share) for key in changed), sorted(changed)
    # Its statistics moved by exactly one forward in train mode, and so did its own extractor's.
    counters = {key: value.item() for key, value in policy.state_dict().items() if key.endswith((".steps", "tracked"))}
    assert all(count == (1 if own_part(network, key, share) else 0) for key, count in counters.items()), counters
    parameters = [key for key, _ in policy.named_parameters() if own_part(network, key, share)]
    assert {key for key in parameters if key.endswith("weight")} <= changed


@pytest.mark.parametrize("network", OBJECTIVES)
def test_no_gradient_reaches_other_networks(network: str) -> None:
    policy = make_policy(False)
    OBJECTIVES[network](policy, make_batch()).backward()
    with_gradient = {key for key, p in policy.named_parameters() if p.grad is not None and p.grad.any()}
    others = {key for key in with_gradient if not key.startswith(network)}
    # Step 2 differentiates through the critics to reach the action; its optimizer step leaves them alone (above).
    assert all(key.startswith("critic.q_networks") for key in others) if network == "actor" else not others


def test_both_halves_of_the_joint_pass_share_batch_statistics() -> None:
    """Two separate passes would normalise (s, a) and (s', a') apart; the statistics must be those of both."""
    policy, batch = make_policy(False), make_batch()
    shifted = batch._replace(next_observations=batch.next_observations + 5.0)
    features: list[th.Tensor] = []
    policy.critic.q_networks[0][0].register_forward_hook(lambda _module, args, _out: features.append(args[0]))
    critic_objective(policy, shifted, 0.99, "source", None)
    (joint,) = features
    assert joint.shape == (2 * BATCH, 4 + ACTION_DIM)
    th.testing.assert_close(policy.critic.q_networks[0][0].running_mean, joint.mean(0))
    th.testing.assert_close(joint[:BATCH, 4:], batch.actions)


def test_bellman_target_of_the_joint_pass_is_a_constant() -> None:
    """The gradient by an output bias is 2 mean(Q_i - y); were y differentiated, a factor of 1 - gamma would enter."""
    policy, batch = make_policy(False), make_batch()
    outputs: list[th.Tensor] = []
    for q_network in policy.critic.q_networks:
        q_network.register_forward_hook(lambda _module, _args, out: outputs.append(out.detach()[:, 0]))
    loss = critic_objective(policy, batch, 0.9, "source", None)
    joint = th.stack(outputs)
    y = batch.rewards[:, 0] + 0.9 * joint[:, BATCH:].min(dim=0).values
    th.testing.assert_close(loss.detach(), (joint[:, :BATCH] - y).square().mean(dim=1).sum())
    for i, q_network in enumerate(policy.critic.q_networks):
        (gradient,) = th.autograd.grad(loss, q_network[-1].bias, retain_graph=True)
        th.testing.assert_close(gradient, 2 * (joint[i, :BATCH] - y).mean()[None])

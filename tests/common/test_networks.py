"""Architecture and initial weights of the four networks."""

import math

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor
from torch import nn

from sb3_qflex import QFlexPolicy
from sb3_qflex.common.batch_renorm import BatchRenorm
from sb3_qflex.common.networks import renorm_mlp

OBS = spaces.Box(-np.inf, np.inf, (5,), np.float32)
ACTIONS = spaces.Box(-1, 1, (3,), np.float32)


def make_policy(observation_space: spaces.Space = OBS, **kwargs) -> QFlexPolicy:
    return QFlexPolicy(observation_space, ACTIONS, lambda _: 1e-3, **kwargs)


def test_default_networks_are_three_layers_of_256_with_batch_renorm_before_every_linear() -> None:
    policy = make_policy()
    inputs = {"actor": 5, "qf": 5 + 3, "field": 5 + 3 + 1}
    outputs = {"actor": 2 * 3, "qf": 1, "field": 3}
    nets = {"actor": policy.actor.net, "qf": policy.critic.q_networks[1], "field": policy.field.net}
    for name, net in nets.items():
        widths = [inputs[name], 256, 256, 256]
        kinds = [type(layer) for layer in net]
        assert kinds == [BatchRenorm, nn.Linear, nn.ReLU] * 3 + [BatchRenorm, nn.Linear]
        assert [layer.num_features for layer in net if isinstance(layer, BatchRenorm)] == widths
        linears = [layer for layer in net if isinstance(layer, nn.Linear)]
        assert [layer.out_features for layer in linears] == [256, 256, 256, outputs[name]]
    assert len(policy.critic.q_networks) == 2


def test_initial_weights_are_a_truncated_normal_and_biases_zero() -> None:
    th.manual_seed(0)
    layer = renorm_mlp(400, 1, [500], nn.ReLU, {})[1]
    std = 1 / math.sqrt(400)
    scaled = layer.weight / std
    assert scaled.abs().max() <= 2.0
    # Standard deviation of a unit normal truncated at two standard deviations.
    assert scaled.std().item() == pytest.approx(0.8796, abs=0.005)
    assert not layer.bias.any()


def test_every_critic_starts_with_its_own_weights() -> None:
    first, second, third = make_policy(n_critics=3).critic.q_networks
    assert not th.equal(first[1].weight, second[1].weight) and not th.equal(second[1].weight, third[1].weight)


def test_net_arch_by_network() -> None:
    policy = make_policy(net_arch={"pi": [7], "qf": [8, 9], "field": []})
    widths = lambda net: [layer.out_features for layer in net if isinstance(layer, nn.Linear)]  # noqa: E731
    assert widths(policy.actor.net) == [7, 6]
    assert widths(policy.critic.q_networks[0]) == [8, 9, 1]
    assert widths(policy.field.net) == [3]
    assert widths(make_policy(net_arch={"pi": [7]}).critic.q_networks[0]) == [256, 256, 256, 1]
    assert widths(make_policy(net_arch=[4]).field.net) == [4, 3]


def test_batch_norm_options_reach_every_layer() -> None:
    policy = make_policy(net_arch=[4], batch_norm_momentum=0.5, batch_norm_eps=0.1, renorm_warmup_steps=3)
    layers = [module for module in policy.modules() if isinstance(module, BatchRenorm)]
    assert len(layers) == 2 * 4
    assert {(layer.momentum, layer.eps, layer.warmup_steps) for layer in layers} == {(0.5, 0.1, 3)}
    assert not any(isinstance(module, BatchRenorm) for module in make_policy(batch_norm=False).modules())


def test_log_std_is_clipped_and_the_mode_is_tanh_of_the_mean() -> None:
    policy = make_policy(net_arch=[4])
    head = policy.actor.net[-1]
    with th.no_grad():
        head.weight.zero_()
        head.bias.copy_(th.tensor([0.5, -1.0, 0.0, 100.0, -100.0, 1.0]))
    mean, log_std, _ = policy.actor.get_action_dist_params(th.zeros(2, 5))
    assert mean.tolist() == [[0.5, -1.0, 0.0]] * 2
    assert log_std.tolist() == [[2.0, -20.0, 1.0]] * 2
    th.testing.assert_close(policy.actor(th.zeros(2, 5), deterministic=True), th.tanh(mean))


def test_source_sample_has_the_gaussians_moments() -> None:
    policy = make_policy(net_arch=[4])
    with th.no_grad():
        policy.actor.net[-1].weight.zero_()
        policy.actor.net[-1].bias.copy_(th.tensor([0.5, -1.0, 0.0, -1.0, -2.0, -0.5]))
    th.manual_seed(0)
    gaussian = th.atanh(policy.source(th.zeros(40_000, 5)).double().clamp(-1 + 1e-9, 1 - 1e-9))
    th.testing.assert_close(gaussian.mean(0), th.tensor([0.5, -1.0, 0.0]).double(), atol=0.02, rtol=0)
    th.testing.assert_close(gaussian.std(0), th.tensor([-1.0, -2.0, -0.5]).double().exp(), atol=0.02, rtol=0.02)


def test_shared_extractor_is_one_module_and_others_are_apart() -> None:
    space = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Discrete(3)})
    shared = make_policy(space, share_features_extractor=True)
    assert shared.actor.features_extractor is shared.critic.features_extractor is shared.field.features_extractor
    apart = make_policy(space)
    assert isinstance(apart.actor.features_extractor, CombinedExtractor)
    extractors = (apart.actor.features_extractor, apart.critic.features_extractor, apart.field.features_extractor)
    assert len({id(extractor) for extractor in extractors}) == 3

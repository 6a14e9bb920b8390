"""Only training moves batch statistics, and nothing is left in train mode."""

import pytest
import torch as th
from helpers.small_models import BoxEnv, assert_same, observations, parameters, small_model
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn


class NoisyExtractor(FlattenExtractor):
    """Features whose layers differ between train and eval mode."""

    def __init__(self, observation_space):
        super().__init__(observation_space)
        self.layers = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))

    def forward(self, observations):
        return self.layers(super().forward(observations))


@pytest.mark.parametrize("extractor", [FlattenExtractor, NoisyExtractor])
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
def test_modes(extractor, shared):
    model = small_model(
        BoxEnv(), policy_kwargs={"features_extractor_class": extractor, "share_features_extractor": shared}
    )
    start = parameters(model)
    model.learn(20)  # collects only
    assert_same(start, parameters(model))
    model.learn(10, reset_num_timesteps=False)
    assert not th.equal(start["actor.net.0.running_mean"], parameters(model)["actor.net.0.running_mean"])
    assert not any(module.training for module in model.policy.modules())

    trained, obs = parameters(model), observations(model)
    first, second = (model.predict(obs, deterministic=True)[0] for _ in range(2))
    assert (first == second).all()
    model.predict(obs)
    assert_same(trained, parameters(model))


def test_a_batch_does_not_change_its_neighbours_actions():
    model = small_model(BoxEnv()).learn(30)
    obs = observations(model)
    alone, _ = model.predict(obs[:1], deterministic=True)
    together, _ = model.predict(obs, deterministic=True)
    assert abs(alone - together[:1]).max() < 1e-5

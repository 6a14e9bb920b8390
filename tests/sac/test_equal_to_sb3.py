"""Our SAC is SB3's: the same seed and the same transitions give the same parameters, alpha and actions."""

from typing import Any

import numpy as np
import pytest
import torch as th
from helpers.sb3_sac import assert_equal_after_updates, both
from helpers.small_models import ReachEnv
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class Normed(BaseFeaturesExtractor):
    """Has statistics, which the target critics take over; no bias, whose gradient would be rounding alone."""

    def __init__(self, observation_space: Any):
        super().__init__(observation_space, features_dim=4)
        self.net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4))

    def forward(self, obs: th.Tensor) -> th.Tensor:
        return self.net(obs)


CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "fixed alpha": {"ent_coef": 0.2, "tau": 0.02},
    "no entropy": {"ent_coef": 0.0},
    "interval": {"target_update_interval": 3, "ent_coef": "auto_0.1", "target_entropy": -0.5},
    "three steps": {"n_steps": 3, "gamma": 0.9},
    "schedule": {"learning_rate": lambda left: 1e-3 * left},
    "networks": {"policy_kwargs": {"net_arch": {"pi": [8], "qf": [16, 8]}, "n_critics": 3, "activation_fn": nn.ELU}},
    "statistics": {"policy_kwargs": {"net_arch": [16], "features_extractor_class": Normed}},
    "shared": {
        "policy_kwargs": {"net_arch": [16], "features_extractor_class": Normed, "share_features_extractor": True}
    },
    "dict": {"policy": "MultiInputPolicy", "env": ReachEnv},
}


@pytest.mark.parametrize("case", CASES)
def test_fifty_updates_equal_sb3s(case: str) -> None:
    assert_equal_after_updates(*both(**CASES[case]))


def test_samples_are_sb3s() -> None:
    actions = []
    for model in both():
        th.manual_seed(0)
        actions.append(model.predict(np.full((6, 3), 0.3, np.float32))[0])
    np.testing.assert_allclose(actions[1], actions[0], rtol=0, atol=1e-6)
    assert len(np.unique(actions[0])) > 6

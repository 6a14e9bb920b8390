"""Our SAC is SB3's: the same seed and the same transitions give the same parameters, alpha and actions."""

from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch as th
from helpers.small_models import BoxEnv, ReachEnv
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from sb3_qflex.sac.sac import SAC


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


def both(policy: Any = "MlpPolicy", env: Any = BoxEnv, policy_kwargs: Any = None, **options: Any) -> tuple[Any, Any]:
    """SB3's and ours, with the same transitions in their replay buffers."""
    kwargs = {"seed": 3, "device": "cpu", "learning_starts": 60, "buffer_size": 200, "learning_rate": 1e-3, **options}
    policy_kwargs = {"net_arch": [16, 16], **(policy_kwargs or {})}
    models = [cls(policy, env(), policy_kwargs=dict(policy_kwargs), **kwargs) for cls in (stable_baselines3.SAC, SAC)]
    start = dict(models[1].policy.state_dict())
    for name, value in models[0].policy.state_dict().items():
        assert th.equal(value, start[name]), name
    for model in models:
        model.learn(50)  # random actions alone
    source, target = (model.replay_buffer for model in models)
    vars(target).update({name: value for name, value in vars(source).items() if isinstance(value, np.ndarray)})
    vars(target).update(pos=source.pos, full=source.full)
    return models[0], models[1]


@pytest.mark.parametrize("case", CASES)
def test_fifty_updates_equal_sb3s(case: str) -> None:
    models = both(**CASES[case])
    for model in models:
        model._current_progress_remaining = 0.5
        th.manual_seed(0)
        np.random.seed(0)
        model.train(50, batch_size=32)
    theirs, ours = (model.policy.state_dict() for model in models)
    for name, value in theirs.items():
        if name.endswith("num_batches_tracked"):
            continue  # SB3 leaves it out of the target critics, where nothing reads it
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-6, err_msg=name)
    if models[0].ent_coef_optimizer is not None:
        np.testing.assert_allclose(models[1].log_ent_coef.item(), models[0].log_ent_coef.item(), rtol=0, atol=1e-6)
    models[0].observation_space.seed(1)
    for _ in range(20):
        obs = models[0].observation_space.sample()
        expected = models[0].predict(obs, deterministic=True)[0]
        np.testing.assert_allclose(models[1].predict(obs, deterministic=True)[0], expected, rtol=0, atol=1e-6)


def test_samples_are_sb3s() -> None:
    actions = []
    for model in both():
        th.manual_seed(0)
        actions.append(model.predict(np.full((6, 3), 0.3, np.float32))[0])
    np.testing.assert_allclose(actions[1], actions[0], rtol=0, atol=1e-6)
    assert len(np.unique(actions[0])) > 6

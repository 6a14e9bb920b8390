"""HerReplayBuffer with Dict observations."""

import numpy as np
import pytest
from helpers.small_models import assert_same, bit_flipping, observations, parameters, small_model
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import QFlex


def her_model(n_envs=1, **kwargs):
    env = make_vec_env(bit_flipping, n_envs)
    return small_model(env, "MultiInputPolicy", replay_buffer_class=HerReplayBuffer, **kwargs)


@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
@pytest.mark.parametrize("n_envs", [1, 2])
def test_goals_are_relabelled(strategy, n_envs):
    kwargs = {"n_sampled_goal": 4, "goal_selection_strategy": strategy, "copy_info_dict": True}
    model = her_model(n_envs, replay_buffer_kwargs=kwargs).learn(40)
    assert model._n_updates > 0
    goals = {tuple(goal) for goal in model.replay_buffer.sample(100).observations["desired_goal"].tolist()}
    # The environment asks for one goal only.
    assert len(goals) > 1


def test_resume(tmp_path):
    model = her_model().learn(40)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")

    inference = QFlex.load(tmp_path / "model", device="cpu")
    obs = observations(model)
    np.testing.assert_array_equal(*(m.predict(obs, deterministic=True)[0] for m in (model, inference)))

    env = make_vec_env(bit_flipping, 1)
    resumed = QFlex.load(tmp_path / "model", env=env, device="cpu")
    assert_same(parameters(model), parameters(resumed))
    resumed.load_replay_buffer(tmp_path / "buffer")
    assert resumed.replay_buffer.env is env
    resumed.learn(10)
    assert resumed._n_updates == model._n_updates + 10

    with pytest.warns(UserWarning, match="without its replay buffer"):
        QFlex.load(tmp_path / "model", env=env, device="cpu").learn(30)


def test_mlp_policy_is_refused_for_dict_observations():
    with pytest.raises(ValueError, match="MultiInputPolicy"):
        small_model(bit_flipping(), "MlpPolicy")

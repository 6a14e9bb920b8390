"""VecNormalize: the buffer keeps what the environment gave, the networks see it normalised."""

import numpy as np
import pytest
from helpers.small_models import BoxEnv, ReachEnv, assert_same, observations, parameters, small_model
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex import QFlex


@pytest.mark.parametrize("her", [False, True], ids=["box", "her"])
def test_batches_are_normalised_and_the_buffer_is_not(her, tmp_path):
    options = {"replay_buffer_class": HerReplayBuffer, "policy": "MultiInputPolicy"} if her else {}
    make = ReachEnv if her else BoxEnv
    env = VecNormalize(make_vec_env(make, 2), gamma=0.9)
    model = small_model(env, gamma=0.9, **options).learn(60)
    assert model.get_vec_normalize_env() is env
    plain, normalised = model.replay_buffer.sample(50), model.replay_buffer.sample(50, env=env)
    for values in plain.observations.values() if her else [plain.observations]:
        assert float(values.abs().max()) <= 1.0
    for values in normalised.observations.values() if her else [normalised.observations]:
        assert float(values.abs().max()) > 1.0

    model.save(tmp_path / "model")
    env.save(tmp_path / "vecnormalize.pkl")
    loaded_env = VecNormalize.load(tmp_path / "vecnormalize.pkl", make_vec_env(make, 2))
    loaded = QFlex.load(tmp_path / "model", env=loaded_env, device="cpu")
    assert_same(parameters(model), parameters(loaded))
    obs = env.normalize_obs(observations(model))
    np.testing.assert_array_equal(*(m.predict(obs, deterministic=True)[0] for m in (model, loaded)))
    with pytest.warns(UserWarning, match="without its replay buffer"):
        loaded.learn(60)
    assert loaded._n_updates > model._n_updates

"""Training that goes on: in one process, from a file, with and without the replay buffer."""

import numpy as np
import pytest
from helpers.small_models import SMALL, BoxEnv, assert_same, parameters, small_model
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex import QFlex

ZOO = {
    **{name: value for name, value in SMALL.items() if name != "device"},
    "tensorboard_log": None,
    "verbose": 0,
    "train_freq": 1,
    "gradient_steps": 1,
}


@pytest.mark.parametrize(
    "options", [{}, {"ent_coef": "auto", "preconditioner": "rms", "policy_delay": 2}], ids=["defaults", "options"]
)
@pytest.mark.parametrize("first", [10, 33])
def test_two_parts_equal_one_run(options, first):
    def make():
        return small_model(VecNormalize(make_vec_env(BoxEnv, 1)), **options)

    whole = make().learn(50)
    parts = make().learn(first)
    parts.learn(50 - first, reset_num_timesteps=False)
    assert (whole.num_timesteps, whole._n_updates) == (parts.num_timesteps, parts._n_updates) == (50, 30)
    assert_same(parameters(whole), parameters(parts))
    np.testing.assert_array_equal(whole.replay_buffer.actions[:50], parts.replay_buffer.actions[:50])


@pytest.fixture
def saved(tmp_path):
    """A trained model whose policy can be told from random actions: it always executes 1."""
    model = small_model(BoxEnv()).learn(30)
    for parameter in (model.field.net[-1].bias, model.actor.net[-1].bias):
        parameter.data.fill_(50.0)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "replay_buffer")
    return tmp_path


@pytest.mark.parametrize("reset", [True, False])
def test_without_its_buffer_it_collects_with_its_own_policy(saved, reset):
    model = QFlex.load(saved / "model", env=BoxEnv(), device="cpu", **ZOO)
    trained = model._n_updates
    with pytest.warns(UserWarning, match="first collects 20 transitions with its own policy"):
        model.learn(20, reset_num_timesteps=reset)
    assert model._n_updates == trained
    np.testing.assert_array_equal(model.replay_buffer.actions[:20], 1.0)
    model.learn(5, reset_num_timesteps=False)
    assert model._n_updates == trained + 5


@pytest.mark.parametrize("reset", [True, False])
def test_with_its_buffer_it_trains_at_once(saved, reset, recwarn):
    model = QFlex.load(saved / "model", env=BoxEnv(), device="cpu", **ZOO)
    model.load_replay_buffer(saved / "replay_buffer")
    trained = model._n_updates
    model.learn(5, reset_num_timesteps=reset)
    assert model._n_updates == trained + 5
    np.testing.assert_array_equal(model.replay_buffer.actions[30], 1.0)
    assert not [w for w in recwarn if "replay buffer" in str(w.message)]


def test_learning_again_from_the_start_needs_no_second_warm_up():
    model = small_model(BoxEnv()).learn(30)
    updates = model._n_updates
    model.learn(10)
    assert model.num_timesteps == 10
    assert model._n_updates == updates + 10


def test_an_untrained_model_starts_with_random_actions():
    model = small_model(BoxEnv())
    model.field.net[-1].bias.data.fill_(50.0)
    model.learn(20)
    assert np.abs(model.replay_buffer.actions[:20]).max() < 1.0

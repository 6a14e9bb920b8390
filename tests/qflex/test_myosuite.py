"""QFlex on a real MyoSuite environment."""

import numpy as np
import pytest
from helpers.small_models import small_model
from stable_baselines3.common.env_util import make_vec_env

pytest.importorskip("myosuite", reason="MyoSuite is not installed")


@pytest.mark.filterwarnings("ignore")
def test_pen_twirl():
    env = make_vec_env("myoHandPenTwirlRandom-v0", 2, seed=0)
    model = small_model(env).learn(40)
    assert model._n_updates == 10
    assert model.actor.action_dim == 39
    actions, _ = model.predict(env.reset(), deterministic=True)
    assert all(env.action_space.contains(action) for action in actions)
    assert np.isfinite(model.replay_buffer.rewards[:20]).all()

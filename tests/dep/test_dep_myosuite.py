"""DEP on real muscles: it moves the body, and more coherently than noise does."""

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import DEPSAC
from sb3_qflex.envs import MuscleSensors
from sb3_qflex.vec_env import WorkerVecEnv

pytest.importorskip("myosuite", reason="MyoSuite is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")


def filled(env_id: str, steps: int, initial_steps: int, **options: Any) -> DEPSAC:
    """A model whose replay buffer DEP has filled, and random actions after ``initial_steps``."""
    env = make_vec_env(env_id, 2, seed=0, wrapper_class=MuscleSensors, **options)
    model = DEPSAC(
        "MlpPolicy", env, learning_starts=10**6, buffer_size=2 * steps, seed=0, device="cpu",
        policy_kwargs={"net_arch": [8]},
        dep={"preset": "myo_leg", "switching": "initial only", "initial_steps": initial_steps},
    ).learn(steps)  # fmt: skip
    env.close()
    return model


@pytest.mark.parametrize("env_id", ["myoElbowPose1D6MRandom-v0", "myoHandPenTwirlRandom-v0"])
def test_dep_fills_the_replay_buffer(env_id: str) -> None:
    options = {"vec_env_cls": WorkerVecEnv, "vec_env_kwargs": {"n_workers": 1, "start_method": "fork"}}
    model = filled(env_id, steps=80, initial_steps=80, **options)
    actions = model.replay_buffer.actions[:40]
    # D = 5: nothing until t = 7. Then muscles pull, not all in one way, and not always in the same one.
    assert (actions[:8] == 0.0).all() and (np.abs(actions[8:]).max(axis=(1, 2)) > 0.1).all()
    assert np.abs(actions).max() <= 1.0
    assert actions[8:].std(axis=2).max() > 0.3 and actions[8:].std(axis=0).max() > 0.3
    assert np.isfinite(model.replay_buffer.rewards[:40]).all()


def test_dep_moves_an_arm_further_than_random_actions() -> None:
    def travelled(initial_steps: int) -> float:
        """Range of the elbow's angle, the first entry of the observation, averaged over environments."""
        model = filled("myoElbowPose1D6MRandom-v0", steps=400, initial_steps=initial_steps)
        angle = model.replay_buffer.observations[5:200, :, 0]
        return float((angle.max(axis=0) - angle.min(axis=0)).mean())

    assert travelled(initial_steps=400) > 1.2 * travelled(initial_steps=0)

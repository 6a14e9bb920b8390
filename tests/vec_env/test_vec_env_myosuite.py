"""MyoSuite's environments in workers, success and reward terms included."""

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex.vec_env import WorkerVecEnv

pytest.importorskip("myosuite", reason="needs the extra 'myosuite': pip install sb3-qflex[myosuite]")
ENV_ID = "myoElbowPose1D6MRandom-v0"


def test_same_trajectories_with_success_and_reward_terms() -> None:
    make: dict[str, Any] = {"env_id": ENV_ID, "n_envs": 3, "seed": 4}
    options = {"n_workers": 2, "start_method": "fork", "infos": ["dense", "pose"]}
    theirs, ours = make_vec_env(**make), make_vec_env(**make, vec_env_cls=WorkerVecEnv, vec_env_kwargs=options)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    ours.action_space.seed(0)
    n_episodes = 0
    for _ in range(110):
        actions = np.array([ours.action_space.sample() for _ in range(3)])
        our, their = ours.step(actions), theirs.step(actions)
        for one, other in zip(our[:3], their[:3], strict=True):
            np.testing.assert_array_equal(one, other)
        for our_info, their_info in zip(our[3], their[3], strict=True):
            assert our_info["is_success"] == bool(their_info["solved"])
            assert our_info["dense"] == float(their_info["rwd_dict"]["dense"])
            assert our_info["pose"] == float(their_info["rwd_dict"]["pose"])
            assert not {"rwd_dict", "obs_dict"} & set(our_info)
            if "episode" in their_info:
                n_episodes += 1
                assert our_info["episode"]["r"] == their_info["episode"]["r"]
                np.testing.assert_array_equal(our_info["terminal_observation"], their_info["terminal_observation"])
    assert n_episodes == 3
    ours.close()

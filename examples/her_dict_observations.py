"""Goal-conditioned training: Dict observations, HerReplayBuffer and VecNormalize together."""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex import QFlex


class ReachEnv(gym.Env):
    """A point in the plane that shall come near a goal; the action is its velocity."""

    def __init__(self) -> None:
        box = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = spaces.Dict({"observation": box, "achieved_goal": box, "desired_goal": box})
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def _observation(self) -> dict[str, np.ndarray]:
        return {"observation": self.position, "achieved_goal": self.position, "desired_goal": self.goal}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self.position, self.goal = self.np_random.uniform(-1.0, 1.0, (2, 2)).astype(np.float32)
        self.n_steps = 0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self.n_steps += 1
        self.position = np.clip(self.position + 0.2 * action, -1.0, 1.0).astype(np.float32)
        reward = float(self.compute_reward(self.position, self.goal, {}))
        return self._observation(), reward, False, self.n_steps >= 10, {}

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> np.ndarray:
        return -(np.linalg.norm(achieved_goal - desired_goal, axis=-1) > 0.2).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--output", default="qflex_her", help="path of the model")
    args = parser.parse_args()

    env = VecNormalize(make_vec_env(ReachEnv, n_envs=4, seed=0), norm_reward=False)
    model = QFlex(
        "MultiInputPolicy",
        env,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
        # Goals are relabelled within whole episodes: collect some before learning starts.
        learning_starts=80,
        policy_kwargs={"net_arch": [64, 64]},
        seed=0,
    )
    model.learn(args.steps)
    model.save(args.output)
    env.save(f"{args.output}_vecnormalize.pkl")

    # Inference needs neither the environment nor the replay buffer, only the normalisation of the observations.
    loaded = QFlex.load(args.output)
    action, _ = loaded.predict(env.reset(), deterministic=True)
    print(f"first action {action[0].round(2)}; model in {args.output}.zip")


if __name__ == "__main__":
    main()

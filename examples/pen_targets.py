"""Which targets a trained policy masters: success on the pen task by the angle between pen and target at the start."""

import argparse
from itertools import pairwise
from typing import Any

import gymnasium as gym
import myosuite  # noqa: F401 registers the task
import numpy as np

from sb3_qflex import QFlexPolicy

TASK = "myoHandPenTwirlRandom-v0"
#: Degrees; the widest are those at which holding the pen still earns a reward below 0.
EDGES = np.array([0, 30, 60, 90, 180])


def angle(env: gym.Env) -> float:
    """Between the directions of pen and target, in degrees."""
    body: Any = env.unwrapped
    parts = body.get_obs_dict(body._accessor)
    cosine = parts["obj_rot"] @ parts["obj_des_rot"]
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def play(policy: QFlexPolicy, env: gym.Env, seed: int) -> tuple[float, float, bool, bool]:
    """:return: angle at the start, smallest angle of the episode, whether it was solved, whether the pen was dropped"""
    observation, _ = env.reset(seed=seed)
    angles, solved, terminated, truncated = [angle(env)], False, False, False
    while not (terminated or truncated):
        action, _ = policy.predict(observation, deterministic=True)
        observation, _, terminated, truncated, info = env.step(action)
        angles.append(angle(env))
        solved |= bool(info["solved"])
    return angles[0], min(angles), solved, terminated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pretrained", default="pen-twirl", metavar="ID")
    parser.add_argument("--episodes", type=int, default=300)
    args = parser.parse_args()
    policy, env = QFlexPolicy.pretrained(args.pretrained), gym.make(TASK)
    episodes = np.array([play(policy, env, seed) for seed in range(args.episodes)], dtype=float)
    print("angle at the start | episodes | solved | pen dropped | nearest")
    for low, high in pairwise(EDGES):
        start, nearest, solved, dropped = episodes[(episodes[:, 0] >= low) & (episodes[:, 0] < high)].T
        if len(start):
            print(f"{low}-{high} | {len(start)} | {solved.mean():.2f} | {dropped.mean():.2f} | {nearest.mean():.0f}")


if __name__ == "__main__":
    main()

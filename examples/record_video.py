"""Record an episode as an mp4, of random actions or of a trained model of any algorithm.

`sb3-qflex watch` shows more of a model: its muscles, for QFlex Q of its actions, and a camera that follows.

    MUJOCO_GL=egl python examples/record_video.py H1Run-v0 h1.mp4 --steps 100
    MUJOCO_GL=egl python examples/record_video.py H1Run-v0 h1.mp4 --algo qflex --model best_model.zip

On a CPU a frame takes about a second with shadows and a third of it without; they are off unless asked for. A file
that ends in .png gets the first frame only.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

import sb3_qflex.envs  # noqa: F401 registers the ids
from sb3_qflex.watch.camera import without_shadows
from sb3_qflex.watch.film import write_mp4

Policy = Callable[[NDArray[Any]], NDArray[Any]]


def trained_policy(algorithm: str, path: Path) -> Policy:
    """
    :param algorithm: ``qflex``, ``sac`` or ``ppo`` of Stable-Baselines3, ``crossq`` or ``tqc`` of sb3-contrib
    :param path: Zip file the model was saved to
    :return: Its deterministic policy
    """
    import sb3_contrib
    import stable_baselines3

    import sb3_qflex

    classes = {"qflex": "QFlex", "sac": "SAC", "ppo": "PPO", "crossq": "CrossQ", "tqc": "TQC"}
    homes = (sb3_qflex, stable_baselines3, sb3_contrib)
    constructor = next(getattr(home, classes[algorithm]) for home in homes if hasattr(home, classes[algorithm]))
    model = constructor.load(path, device="cpu")
    return lambda observation: model.predict(observation, deterministic=True)[0]


def frames(env: gym.Env, policy: Policy | None, steps: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """
    :param env: Environment with ``render_mode="rgb_array"``
    :param policy: Observation to action; None for random actions
    :param steps: Steps at most; the video ends with the episode
    :param seed: Seed of the start and the random actions
    :return: Pictures (height, width, 3), the start first
    """
    env.action_space.seed(seed)
    observation, _ = env.reset(seed=seed)
    yield env.render()  # type: ignore[misc]
    for _ in range(steps):
        action = env.action_space.sample() if policy is None else policy(observation)
        observation, _, terminated, truncated, _ = env.step(action)
        yield env.render()  # type: ignore[misc]
        if terminated or truncated:
            return


def main() -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("id", help="Gymnasium id; `sb3-qflex envs list` lists ours")
    parser.add_argument("output", type=Path, help="file to write, .mp4 or .png; refused if it exists")
    parser.add_argument("--steps", type=int, default=100, help="steps at most (default: 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shadows", action="store_true", help="as the model asks for them; slow")
    parser.add_argument("--algo", choices=["qflex", "sac", "ppo", "crossq", "tqc"], default="qflex")
    parser.add_argument("--model", type=Path, help="trained model; random actions without")
    parser.add_argument(
        "--kwargs", nargs="*", default=["{}"], metavar="'NAME: VALUE'", help="arguments of the environment"
    )
    chosen = parser.parse_args()
    if chosen.output.suffix not in (".mp4", ".png") or chosen.output.exists():
        parser.error(f"{chosen.output} must end in .mp4 or .png and must not exist yet")

    env = gym.make(chosen.id, render_mode="rgb_array", **yaml.safe_load("\n".join(chosen.kwargs)))
    if not chosen.shadows:
        without_shadows(env.unwrapped)
    policy = trained_policy(chosen.algo, chosen.model) if chosen.model else None
    pictures = frames(env, policy, chosen.steps, chosen.seed)
    if chosen.output.suffix == ".png":
        Image.fromarray(next(pictures)).save(chosen.output)
    else:
        write_mp4(chosen.output, pictures, env.metadata["render_fps"])
    env.close()


if __name__ == "__main__":
    main()

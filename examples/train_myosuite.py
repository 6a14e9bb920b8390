"""Train QFlex on a MyoSuite task in the paper's regime: many environments, one update per step of all of them.

Needs ``pip install "sb3-qflex[myosuite]"``.
"""

import argparse

import myosuite  # noqa: F401  registers its environments
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_qflex import QFlex


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="myoHandPenTwirlRandom-v0")
    parser.add_argument("--steps", type=int, default=500_000)
    parser.add_argument("--n-envs", type=int, default=40)
    parser.add_argument("--learning-starts", type=int, default=5_000)
    parser.add_argument("--eval-episodes", type=int, default=10)
    parser.add_argument("--output", default="qflex_myosuite", help="path of the model")
    args = parser.parse_args()

    env = make_vec_env(args.env, n_envs=args.n_envs, seed=0)
    model = QFlex("MlpPolicy", env, learning_starts=args.learning_starts, seed=0, verbose=1)
    model.learn(args.steps)
    model.save(args.output)

    mean, std = evaluate_policy(model, make_vec_env(args.env, seed=1), n_eval_episodes=args.eval_episodes)
    print(f"return {mean:.1f} +/- {std:.1f} over {args.eval_episodes} episodes; model in {args.output}.zip")


if __name__ == "__main__":
    main()

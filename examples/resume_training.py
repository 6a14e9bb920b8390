"""Train with checkpoints. Started again after an interruption of any kind, it goes on where it was."""

import argparse

from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import QFlex, TrainingCheckpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="in all")
    parser.add_argument("--every", type=int, default=1_000, help="steps between two checkpoints")
    parser.add_argument("--output", default="qflex_pendulum", help="path of the model; the checkpoints lie beside it")
    args = parser.parse_args()

    folder = f"{args.output}_checkpoint"
    env = make_vec_env("Pendulum-v1", seed=0)
    if TrainingCheckpoint.exists(folder):
        model = QFlex.resume(folder, env)
        print(f"going on from step {model.num_timesteps}")
    else:
        model = QFlex("MlpPolicy", env, policy_kwargs={"net_arch": [64, 64]}, seed=0)

    callback = TrainingCheckpoint(folder, every=args.every)
    model.learn(args.steps - model.num_timesteps, callback, reset_num_timesteps=False)
    model.save(args.output)
    print(f"{model.num_timesteps} steps in all; model in {args.output}.zip")


if __name__ == "__main__":
    main()

"""Save a model with its replay buffer, load both, and go on."""

import argparse

from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import QFlex


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5_000, help="of each of the two parts")
    parser.add_argument("--output", default="qflex_pendulum", help="path of the model")
    args = parser.parse_args()

    model = QFlex("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [64, 64]}, seed=0)
    model.learn(args.steps)
    model.save(args.output)
    model.save_replay_buffer(f"{args.output}_replay_buffer")

    env = make_vec_env("Pendulum-v1", seed=1)
    resumed = QFlex.load(args.output, env=env)
    # Without this line the model would first collect learning_starts transitions with its own policy, and say so.
    resumed.load_replay_buffer(f"{args.output}_replay_buffer")
    resumed.learn(args.steps, reset_num_timesteps=False)
    resumed.save(args.output)
    print(f"{resumed.num_timesteps} steps in all; model in {args.output}.zip")


if __name__ == "__main__":
    main()

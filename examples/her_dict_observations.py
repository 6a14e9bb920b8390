"""Goal-conditioned training: Dict observations, HerReplayBuffer and VecNormalize together."""

import argparse

from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex import QFlex


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--bits", type=int, default=6)
    parser.add_argument("--output", default="qflex_her", help="path of the model")
    args = parser.parse_args()

    kwargs = {"n_bits": args.bits, "continuous": True}
    env = VecNormalize(make_vec_env(BitFlippingEnv, n_envs=4, env_kwargs=kwargs), norm_reward=False)
    model = QFlex(
        "MultiInputPolicy",
        env,
        replay_buffer_class=HerReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
        # Goals are relabelled within whole episodes: collect some before learning starts.
        learning_starts=4 * 2 * args.bits,
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

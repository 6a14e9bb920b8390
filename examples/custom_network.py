"""Networks of other sizes, a features extractor of one's own, and options of the policy."""

import argparse

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from sb3_qflex import QFlex


class Encoder(BaseFeaturesExtractor):
    """
    One layer on the observation.

    :param observation_space: A Box.
    :param features_dim: Number of features.
    """

    def __init__(self, observation_space: spaces.Box, features_dim: int = 32):
        super().__init__(observation_space, features_dim)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(observation_space.shape[0], features_dim), nn.ReLU())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.net(observations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--output", default="qflex_custom_network", help="path of the model")
    args = parser.parse_args()

    policy_kwargs = {
        # Source policy, critics and velocity field apart.
        "net_arch": {"pi": [64, 64], "qf": [128, 128], "field": [64, 64]},
        "n_critics": 3,
        "features_extractor_class": Encoder,
        "features_extractor_kwargs": {"features_dim": 16},
        # One extractor for all networks, which the source policy's loss trains; by default each has its own.
        "share_features_extractor": True,
    }
    model = QFlex("MlpPolicy", "Pendulum-v1", policy_kwargs=policy_kwargs, seed=0)
    print(model.policy)
    model.learn(args.steps)
    model.save(args.output)
    print(f"model in {args.output}.zip")


if __name__ == "__main__":
    main()

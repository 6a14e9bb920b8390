"""A second policy class, as an algorithm beside QFlex would have it: the deterministic actor of TD3."""

from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, create_mlp
from torch import nn

from sb3_qflex.export.heads import TanhHead
from sb3_qflex.export.policy_file import ShareablePolicy


class TanhPolicy(ShareablePolicy):
    """Features extractor, layers, tanh."""

    file_arguments: ClassVar = {"normalize_images": (bool,), "net_arch": (list,)}

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Any,
        net_arch: list[int],
        activation_fn: type[nn.Module] = nn.ReLU,
        features_extractor_class: Any = None,
        **kwargs: Any,
    ):
        is_dict = isinstance(observation_space, spaces.Dict)
        extractor_class = features_extractor_class or (CombinedExtractor if is_dict else FlattenExtractor)
        super().__init__(observation_space, action_space, extractor_class, **kwargs)
        self.net_arch, self.activation_fn = net_arch, activation_fn
        self.features_extractor = self.make_features_extractor()
        layers = create_mlp(self.features_extractor.features_dim, self.action_dim, net_arch, activation_fn, True)
        self.net = nn.Sequential(*layers)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def forward(self, obs: Any, deterministic: bool = False) -> th.Tensor:
        return self.net(self.extract_features(obs, self.features_extractor))

    def _predict(self, observation: Any, deterministic: bool = False) -> th.Tensor:
        return self(observation)

    def exported_head(self, takes_noise: bool = False) -> TanhHead:
        return TanhHead(self, self.net, takes_noise)


class TanhModel(OffPolicyAlgorithm):
    """The algorithm around it, which does not learn."""

    def __init__(self, env: Any, policy: Any = TanhPolicy, **policy_kwargs: Any):
        policy_kwargs = {"net_arch": [16, 8], **policy_kwargs}
        super().__init__(
            policy, env, 1e-3, buffer_size=10, policy_kwargs=policy_kwargs, device="cpu", seed=0, sde_support=False
        )
        self._setup_model()

    def train(self, gradient_steps: int, batch_size: int) -> None:
        raise NotImplementedError

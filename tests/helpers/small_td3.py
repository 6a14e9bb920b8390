"""A second off-policy algorithm, as somebody would write it who wants what QFlex has: TD3 without target networks."""

from typing import Any, ClassVar

import torch as th
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.td3.policies import Actor
from torch import nn

from sb3_qflex.algorithm import Algorithm
from sb3_qflex.common import losses, options
from sb3_qflex.export.heads import TanhHead
from sb3_qflex.export.policy_file import ShareablePolicy


class SmallTD3Policy(ShareablePolicy):
    """SB3's actor and critics of TD3."""

    file_arguments: ClassVar = {"normalize_images": (bool,), "net_arch": (list,)}

    def __init__(self, observation_space, action_space, lr_schedule, net_arch=(16, 16), activation_fn=nn.ReLU,
                 features_extractor_class=FlattenExtractor, **kwargs):  # fmt: skip
        super().__init__(observation_space, action_space, features_extractor_class, **kwargs)
        self.net_arch, self.activation_fn = list(net_arch), activation_fn
        arguments: dict[str, Any] = {"net_arch": self.net_arch, "activation_fn": activation_fn}
        for name, network in (("actor", Actor), ("critic", ContinuousCritic)):
            extractor = self.make_features_extractor()
            built = network(observation_space, action_space, features_extractor=extractor,
                            features_dim=extractor.features_dim, **arguments)  # fmt: skip
            built.optimizer = self.new_optimizer(built.parameters(), lr_schedule)
            setattr(self, name, built)

    def _predict(self, observation: Any, deterministic: bool = False) -> th.Tensor:
        return self.actor(observation)

    def exported_head(self, takes_noise: bool = False) -> TanhHead:
        return TanhHead(self.actor, self.actor.mu, takes_noise)


class SmallTD3(Algorithm):
    """Critics towards their smallest value at the actor's action, then the actor along the first of them."""

    policy_aliases: ClassVar = {"MlpPolicy": SmallTD3Policy}
    policy_base = SmallTD3Policy
    policy_delay: int = options.count()

    def __init__(self, policy, env, learning_rate=1e-3, policy_delay=2, _init_setup_model=True, **arguments):
        super().__init__(policy, env, learning_rate, **arguments)
        self.policy_delay = policy_delay
        if _init_setup_model:
            self._setup_model()

    def gradient_step(self, batch: ReplayBufferSamples) -> None:
        with th.no_grad():
            next_q = th.stack(self.critic(batch.next_observations, self.actor(batch.next_observations))).squeeze(2)
            target = losses.batch_target(batch, self.gamma, next_q)
        q_values = th.stack(self.critic(batch.observations, batch.actions)).squeeze(2)
        self.minimise(self.critic.optimizer, losses.critic_loss(q_values, target), "critic")
        if self._n_updates % self.policy_delay == 0:
            q_value = self.critic.q1_forward(batch.observations, self.actor(batch.observations)).mean()
            self.minimise(self.actor.optimizer, -q_value, "actor")
            self.check_divergence(q_value, batch.rewards)

"""SAC's policy: SB3's actor and critics, with target critics, as what is exported and shared here."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.sac.policies import Actor
from torch import nn

from sb3_qflex.common import validation
from sb3_qflex.common.networks import SquashedGaussian
from sb3_qflex.export.heads import Head, SquashedGaussianHead
from sb3_qflex.export.policy_file import ShareablePolicy

DEFAULT_NET_ARCH = [256, 256]
NETWORKS = ("pi", "qf")


class SACPolicy(ShareablePolicy):
    """
    Policy class (actor, critics and target critics) for SAC.

    A subclass with another actor overrides :meth:`make_actor`, and :meth:`exported_head` with it.

    :param observation_space: Observation space: no images.
    :param action_space: A bounded Box of floats.
    :param lr_schedule: Learning rate schedule (could be constant).
    :param net_arch: Hidden layers of all networks, or a dict with ``pi`` (actor) and ``qf`` (critics). Two layers of
        256 units where it does not say.
    :param activation_fn: Activation function.
    :param features_extractor_class: Features extractor to use; by default CombinedExtractor for Dict observations and
        FlattenExtractor for others.
    :param features_extractor_kwargs: Keyword arguments of the features extractor.
    :param normalize_images: Kept for SB3's interface; images are refused.
    :param optimizer_class: The optimizer to use.
    :param optimizer_kwargs: Its arguments but the learning rate; by default fused for Adam and AdamW.
    :param n_critics: Number of critics, at least 1.
    :param share_features_extractor: Whether the critics use the actor's features extractor, which the actor's loss
        alone then trains.
    """

    file_arguments: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "normalize_images": (bool,),
        "net_arch": (list, dict, type(None)),
        "n_critics": (int,),
        "share_features_extractor": (bool,),
    }
    network_counts: ClassVar[tuple[str, ...]] = ("n_critics",)
    actor: Actor
    critic: ContinuousCritic
    critic_target: ContinuousCritic

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        n_critics: int = 2,
        share_features_extractor: bool = False,
    ):
        validation.check_count("n_critics", n_critics)
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class,
            features_extractor_kwargs,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            normalize_images=normalize_images,
        )
        self.net_arch = DEFAULT_NET_ARCH if net_arch is None else net_arch
        self.activation_fn = activation_fn
        self.n_critics = n_critics
        self.share_features_extractor = share_features_extractor
        self._build(lr_schedule, validation.net_archs(net_arch, DEFAULT_NET_ARCH, NETWORKS))

    def _build(self, lr_schedule: Schedule, archs: dict[str, list[int]]) -> None:
        """In SB3's order, so that the same seed gives the same weights."""
        kwargs: dict[str, Any] = {"activation_fn": self.activation_fn}
        self.actor = self.make_actor(**self.network_arguments(net_arch=archs["pi"], **kwargs))
        self.actor.optimizer = self.new_optimizer(self.actor.parameters(), lr_schedule)
        shared = self.actor.features_extractor if self.share_features_extractor else None
        kwargs.update(net_arch=archs["qf"], n_critics=self.n_critics)
        self.critic = ContinuousCritic(
            **self.network_arguments(shared, share_features_extractor=shared is not None, **kwargs)
        )
        actors_own = set() if shared is None else set(shared.parameters())
        parameters = [parameter for parameter in self.critic.parameters() if parameter not in actors_own]
        self.critic.optimizer = self.new_optimizer(parameters, lr_schedule)
        self.critic_target = ContinuousCritic(**self.network_arguments(share_features_extractor=False, **kwargs))
        self.critic_target.load_state_dict(self.critic.state_dict())
        self.set_training_mode(False)

    def make_actor(self, **arguments: Any) -> Actor:
        """
        A new actor.

        :param arguments: Of SB3's ``Actor``.
        """
        actor = Actor(**arguments)
        actor.action_dist = SquashedGaussian(self.action_dim)  # type: ignore[assignment]
        return actor

    def train(self, mode: bool = True) -> "SACPolicy":
        super().train(mode)
        self.critic_target.train(False)
        return self

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self.actor(observation, deterministic)

    def idle_networks(self) -> tuple[str, ...]:
        return ("critic", "critic_target")

    def exported_head(self, takes_noise: bool = False) -> Head:
        """
        tanh(mean), or a sample.

        :param takes_noise: Whether it samples, with standard normal noise (B, |A|) as an input.
        :raises UnsupportedError: For networks without exported form.
        """
        mean, log_std = (cast(nn.Linear, head) for head in (self.actor.mu, self.actor.log_std))
        heads = nn.Linear(mean.in_features, 2 * self.action_dim, device=mean.weight.device, dtype=mean.weight.dtype)
        with th.no_grad():
            heads.weight.copy_(th.cat([mean.weight, log_std.weight]))
            heads.bias.copy_(th.cat([mean.bias, log_std.bias]))
        net = nn.Sequential(*self.actor.latent_pi, heads)
        return SquashedGaussianHead(self.actor, net, self.action_dim, takes_noise)


#: SB3's names: the observation space decides which features extractor serves.
MlpPolicy = MultiInputPolicy = SACPolicy

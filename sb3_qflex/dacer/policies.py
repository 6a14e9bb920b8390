"""DACER's policy: a noise predictor whose whole chain is the policy, distributional critics, and the temperature."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule

from sb3_qflex.common import options
from sb3_qflex.common.diffusion import NoiseAt
from sb3_qflex.common.diffusion_networks import NoisePredictor
from sb3_qflex.common.fast.denoising import is_plain
from sb3_qflex.common.fast.trained_chain import trained_noise
from sb3_qflex.common.losses import smallest
from sb3_qflex.common.tempered import TemperedPolicy
from sb3_qflex.dacer.networks import ReturnCritics
from sb3_qflex.export.diffusion_head import DiffusionHead
from sb3_qflex.export.policy_file import ShareablePolicy


class DACERPolicy(TemperedPolicy, ShareablePolicy):
    """
    Policy class (noise predictor, critics, target critics and temperature) for DACER.

    :param observation_space: Observation space: no images.
    :param action_space: A bounded Box of floats.
    :param lr_schedule: Learning rate schedule (could be constant).
    :param start_scale: s0, standard deviation of the noise that the chain starts from, positive.
    :param noise_scale: Executed actions have normal noise of this many times alpha on top; at least 0.
    :param init_alpha: alpha at first, positive. Assigning it starts alpha anew.
    :param arguments: Of :class:`~sb3_qflex.common.diffusion_policy.DiffusionPolicyBase`, but ``n_particles``: there is
        one.
    """

    file_arguments: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "normalize_images": (bool,),
        "net_arch": (list, dict),
        "n_critics": (int,),
        "diffusion_steps": (int,),
        "sampling_dtype": (str,),
        "beta_schedule": (str,),
        "beta_scale": (float, int),
        "start_scale": (float, int),
        "noise_scale": (float, int),
        "init_alpha": (float, int),
    }
    network_counts = ("n_critics",)

    critic: ReturnCritics
    critic_target: ReturnCritics

    start_scale: float = options.number(above=True)  # type: ignore[misc]

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        *,
        start_scale: float = 1.0,
        noise_scale: float = 0.1,
        init_alpha: float = 3.0,
        **arguments: Any,
    ):
        super().__init__(observation_space, action_space, lr_schedule, **arguments)
        self.start_scale = start_scale
        self.noise_scale = noise_scale
        self.init_alpha = init_alpha
        options.check_options(self)
        self._build_temperature()

    def make_critic(self, **kwargs: Any) -> ReturnCritics:
        """
        :param kwargs: Of :class:`ReturnCritics`.
        """
        return ReturnCritics(**kwargs)

    def act(self, obs: PyTorchObs) -> th.Tensor:
        """
        An action as it is executed while training, with a gradient to the noise predictor through the whole chain.

        :param obs: Observations.
        :return: Shape (B, |A|), in [-1, 1].
        """
        features = self.actor.encode(obs)
        shape = self.n_noises, len(features), self.action_dim
        noise = th.randn(shape, device=features.device, dtype=features.dtype)
        return self._explore(self.chain(self.noise_at(self.actor, features, 1), noise))

    def noise_at(self, actor: NoisePredictor, features: th.Tensor, n_particles: int, dtype: str = "float32") -> NoiseAt:
        """
        The noise predictor at given states, with gradients where torch records them.

        :param actor: The noise predictor.
        :param features: Shape (B, features_dim).
        :param n_particles: Rows of each state.
        :param dtype: See :meth:`DiffusionPolicyBase.noise_at`; float32 with gradients.
        """
        if th.is_grad_enabled() and n_particles == 1 and is_plain(actor.net, actor):
            times = actor.time(th.arange(self.diffusion_steps, device=features.device))
            return trained_noise(actor.net, features, times)
        return super().noise_at(actor, features, n_particles, dtype)

    def min_q(self, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """
        min_i mu_i, differentiable by the action.

        :param obs: Observations.
        :param actions: Shape (B, |A|).
        :return: Shape (B,).
        """
        with th.no_grad():
            features = self.critic.encode(obs)
        return smallest(self.critic.q_values(features, actions))

    @th.no_grad()
    def several(self, obs: PyTorchObs, n_samples: int) -> th.Tensor:
        """
        Several actions of each state as they are executed while training, constants.

        :param obs: Observations.
        :param n_samples: n.
        :return: Shape (B, n, |A|).
        """
        features = self.actor.encode(obs)
        actions = []
        for part in self._parts(len(features), n_samples):
            shape = len(features[part]) * n_samples, self.action_dim
            noise = th.randn(self.n_noises, *shape, device=features.device, dtype=features.dtype)
            chains = self.chain(self.noise_at(self.actor, features[part], n_samples), noise)
            actions.append(self._explore(chains).view(-1, n_samples, self.action_dim))
        return th.cat(actions)

    def exported_head(self, takes_noise: bool = False) -> DiffusionHead:
        """
        The chain unrolled from the policy's fixed noise.

        :param takes_noise: Refused.
        :raises UnsupportedError: With noise, and for networks without exported form.
        """
        return DiffusionHead(self, takes_noise)


#: SB3's names: the observation space decides which features extractor serves.
MlpPolicy = MultiInputPolicy = DACERPolicy

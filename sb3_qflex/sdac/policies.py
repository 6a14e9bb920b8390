"""SDAC's policy: a noise predictor, critics, slow copies of both, and the temperature."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule

from sb3_qflex.common import options
from sb3_qflex.common.diffusion_networks import NoisePredictor
from sb3_qflex.common.tempered import TemperedPolicy
from sb3_qflex.export.diffusion_head import DiffusionHead
from sb3_qflex.export.policy_file import ShareablePolicy


class SDACPolicy(TemperedPolicy, ShareablePolicy):
    """
    Policy class (noise predictor, critics and temperature) for SDAC and DPMD.

    The slow copy of the noise predictor acts, and the online critics choose among its particles.

    :param observation_space: Observation space: no images.
    :param action_space: A bounded Box of floats.
    :param lr_schedule: Learning rate schedule (could be constant).
    :param noise_scale: Executed actions have normal noise of this many times alpha on top; at least 0.
    :param clip_actions: Whether the sum of chain and noise is clamped to [-1, 1]; actions of ``predict`` are in the
        box in any case.
    :param init_alpha: alpha at first, positive. Assigning it starts alpha anew.
    :param arguments: Of :class:`~sb3_qflex.common.diffusion_policy.DiffusionPolicyBase`.
    """

    file_arguments: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "normalize_images": (bool,),
        "net_arch": (list, dict, type(None)),
        "n_critics": (int,),
        "diffusion_steps": (int,),
        "beta_schedule": (str,),
        "beta_scale": (float, int),
        "n_particles": (int,),
        "sampling_dtype": (str,),
        "noise_scale": (float, int),
        "clip_actions": (bool,),
        "init_alpha": (float, int),
    }
    network_counts = ("n_critics",)
    followed = ("critic", "actor")

    actor_target: NoisePredictor

    clip_actions: bool = options.flag()

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        *,
        noise_scale: float = 0.1,
        clip_actions: bool = True,
        init_alpha: float = 5.0,
        **arguments: Any,
    ):
        super().__init__(observation_space, action_space, lr_schedule, **arguments)
        self.noise_scale = noise_scale
        self.clip_actions = clip_actions
        self.init_alpha = init_alpha
        options.check_options(self)
        self._build_temperature()

    def _explore(self, actions: th.Tensor) -> th.Tensor:
        return super()._explore(actions) if self.clip_actions else self._noisy(actions)

    def exported_head(self, takes_noise: bool = False) -> DiffusionHead:
        """
        The chains unrolled from the policy's fixed noise, and the best of N.

        :param takes_noise: Refused.
        :raises UnsupportedError: With noise, and for networks without exported form.
        """
        return DiffusionHead(self, takes_noise)


#: SB3's names: the observation space decides which features extractor serves.
MlpPolicy = MultiInputPolicy = SDACPolicy

"""QSM's policy: a noise predictor or score that knows the gradient of Q, and the critics that it has it from."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from sb3_qflex.common import options, validation
from sb3_qflex.common.action_gradient import action_gradient
from sb3_qflex.common.diffusion import NoiseAt, score_chain
from sb3_qflex.common.diffusion_networks import NoisePredictor
from sb3_qflex.common.diffusion_policy import DiffusionPolicyBase
from sb3_qflex.common.fast.folding import folded_q_gradient
from sb3_qflex.common.losses import smallest
from sb3_qflex.common.networks import Critics, init_xavier
from sb3_qflex.export.heads import Head
from sb3_qflex.export.policy_file import ShareablePolicy
from sb3_qflex.qsm.exported import LangevinHead, ScoreHead
from sb3_qflex.qsm.networks import FourierTime, NoTime
from sb3_qflex.qsm.options import VARIANTS, default_net_arch
from sb3_qflex.qsm.score_matching import langevin, mean_of_critics


def _check_built(policy: Any, name: str, value: Any) -> None:
    built = vars(policy).get("_built")
    if built is not None and built[name] != value:
        raise ValueError(
            f"{name} cannot change from {built[name]!r} to {value!r}: the networks were made for it. Make a new model."
        )


def _check_variant(policy: Any, name: str, value: Any) -> None:
    validation.check_choice(name, value, VARIANTS)
    _check_built(policy, name, value)


def _check_time_dim(policy: Any, name: str, value: Any) -> None:
    validation.check_count(name, value, minimum=2)
    if value % 2:
        raise ValueError(f"time_dim must be even, as many cosines as sines, not {value!r}.")
    _check_built(policy, name, value)


class QSMPolicy(DiffusionPolicyBase, ShareablePolicy):
    """
    Policy class (noise predictor or score, critics and target critics) for QSM.

    :param observation_space: Observation space: no images.
    :param action_space: A bounded Box of floats.
    :param lr_schedule: Learning rate schedule (could be constant).
    :param net_arch: Hidden layers of all networks, or a dict with ``pi`` (noise predictor or score) and ``qf``
        (critics). Where it does not say, two layers of 512 units for "ddpm" and three of 256 for "langevin".
    :param activation_fn: Activation function of the noise predictor or score; by default Mish for "ddpm" and ReLU for
        "langevin". Critics have ReLU.
    :param variant: "ddpm" or "langevin", see :class:`sb3_qflex.QSM`.
    :param action_noise_std: Standard deviation of the noise on executed actions, at least 0.
    :param time_dim: Cosines and sines of the embedding of time of "ddpm", an even number.
    :param arguments: Of :class:`~sb3_qflex.common.diffusion_policy.DiffusionPolicyBase`, but ``beta_schedule`` and
        ``beta_scale``: the schedule of "ddpm" is "vp".
    """

    file_arguments: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "normalize_images": (bool,),
        "net_arch": (list, dict),
        "n_critics": (int,),
        "variant": (str,),
        "diffusion_steps": (int,),
        "n_particles": (int,),
        "sampling_dtype": (str,),
        "action_noise_std": (float, int),
        "time_dim": (int,),
    }
    network_counts = ("n_critics",)

    start_scale = 1.0
    variant: str = options.option(_check_variant)
    action_noise_std: float = options.number()
    time_dim: int = options.option(_check_time_dim)

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] | None = None,
        *,
        variant: str = "ddpm",
        action_noise_std: float = 0.1,
        time_dim: int = 64,
        **arguments: Any,
    ):
        # Before the networks, which are made for them.
        self.variant = variant
        self.action_noise_std = action_noise_std
        self.time_dim = time_dim
        _check_variant(self, "variant", variant)
        _check_time_dim(self, "time_dim", time_dim)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=default_net_arch(variant) if net_arch is None else net_arch,
            activation_fn=(nn.Mish if variant == "ddpm" else nn.ReLU) if activation_fn is None else activation_fn,
            beta_schedule="vp",
            **arguments,
        )
        self._built = {"variant": variant, "time_dim": time_dim}
        options.check_options(self)

    def make_actor(self, **kwargs: Any) -> NoisePredictor:
        """
        :param kwargs: Of :class:`NoisePredictor`.
        """
        if self.variant == "langevin":
            return NoisePredictor(time=lambda _: NoTime(), **kwargs)
        return NoisePredictor(time=partial(FourierTime, self.time_dim), **kwargs).apply(init_xavier)

    def make_critic(self, **kwargs: Any) -> Critics:
        """
        :param kwargs: Of :class:`Critics`.
        """
        critics = Critics(**{**kwargs, "activation_fn": nn.ReLU})
        return critics if self.variant == "langevin" else critics.apply(init_xavier)

    @property
    def n_noises(self) -> int:
        """Langevin's last step injects noise too."""
        return self.diffusion_steps + (self.variant == "langevin")

    def exploration_std(self) -> float:
        """That of executed actions, on top of the chain's."""
        return self.action_noise_std

    def chain(self, eps_hat: NoiseAt, noise: th.Tensor) -> th.Tensor:
        """
        From noise to actions.

        :param eps_hat: Noise predictor, or score, at the states at hand.
        :param noise: Standard normal, shape (n_noises, R, |A|).
        :return: Shape (R, |A|), in [-1, 1].
        """
        if self.variant == "langevin":
            return langevin(lambda x: eps_hat(x, 0), noise)
        return score_chain(eps_hat, noise, self.schedule)

    def q_gradient(self, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """
        Gradient of Q by the action: of the mean of the critics for "ddpm", of the smaller one for "langevin".

        :param obs: Observations.
        :param actions: Shape (B, |A|), anywhere.
        :return: Shape (B, |A|), a constant.
        """
        over_critics = smallest if self.variant == "langevin" else mean_of_critics
        with th.no_grad():
            features, nets = self.critic.encode(obs), list(self.critic.q_networks)
            folded = self.fold("critic", self.critic, nets, self.critic.features_dim, True)
            if folded is None:
                return action_gradient(partial(self.critic.q_values, features), actions, over_critics)
            if over_critics is smallest:
                return folded_q_gradient(folded, features)(actions)
            return th.stack([folded_q_gradient([one], features)(actions) for one in folded]).mean(dim=0)

    def exported_head(self, takes_noise: bool = False) -> Head:
        """
        The deterministic action.

        :param takes_noise: Refused: the chains have the policy's fixed noise.
        :raises UnsupportedError: With noise, and for networks without exported form.
        """
        return (LangevinHead if self.variant == "langevin" else ScoreHead)(self, takes_noise)


#: SB3's names: the observation space decides which features extractor serves.
MlpPolicy = MultiInputPolicy = QSMPolicy

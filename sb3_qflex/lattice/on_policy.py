"""Lattice's policies for SB3's PPO and sb3-contrib's RecurrentPPO, which stay as they are but for policies' names."""

from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy, RecurrentMultiInputActorCriticPolicy
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule

from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export.exportable import Exportable
from sb3_qflex.export.heads import MeanHead
from sb3_qflex.lattice.distributions import LatticeDistribution, LatticeStateDependentDistribution
from sb3_qflex.lattice.exported import refuse_noise
from sb3_qflex.lattice.options import LatticeNoise

#: All of them but those that SB3's class takes and saves itself.
_ARGUMENTS = ("lattice_alpha", "std_clip", "std_reg", "expln_eps")


class LatticeActorCritic(ActorCriticPolicy):
    """
    Lattice's noise in an actor-critic policy of SB3. ``use_sde`` and ``sde_sample_freq`` of the algorithm choose the
    state-dependent form and how long its noise is held; ``full_std``, ``use_expln`` and ``log_std_init`` are SB3's.

    :param arguments: Of the base class
    :param lattice_alpha: alpha, the weight of the latent noise, at least 0, in the state-dependent form
    :param std_clip: Smallest and largest exp(L) there
    :param std_reg: Standard deviation that is added to each actuator's there
    :param expln_eps: As in SB3's expln
    :param keywords: Of the base class
    :raises ValueError: For values out of range, and action spaces that are no Box
    """

    action_net: Any

    def __init__(
        self,
        *arguments: Any,
        lattice_alpha: float = 1.0,
        std_clip: tuple[float, float] = (1e-3, 10.0),
        std_reg: float = 0.0,
        expln_eps: float = 1e-6,
        **keywords: Any,
    ):
        # Before the base class, which builds; none is a module.
        self.noise = LatticeNoise(lattice_alpha=lattice_alpha, std_clip=std_clip, std_reg=std_reg, expln_eps=expln_eps)
        super().__init__(*arguments, **keywords)

    def _build(self, lr_schedule: Schedule) -> None:
        space = self.action_space
        if not isinstance(space, spaces.Box):
            raise UnsupportedError(
                f"Lattice is noise on continuous actions: the action space must be a Box, not {space}."
            )
        action_dim = self.action_dist.action_dim  # type: ignore[attr-defined]
        if self.use_sde:
            arguments = {**self.noise.state_dependent_arguments(), **(self.dist_kwargs or {})}
            self.action_dist = LatticeStateDependentDistribution(action_dim, **arguments)
        else:
            self.action_dist = LatticeDistribution(action_dim)
        super()._build(lr_schedule)

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """As in the base class: what acts while training collects, so that noise is held."""
        if isinstance(self.action_dist, LatticeStateDependentDistribution):
            with self.action_dist.exploring():
                return super().forward(*arguments, **keywords)
        return super().forward(*arguments, **keywords)

    def _get_action_dist_from_latent(self, latent_pi: th.Tensor) -> Distribution:
        mean, weight = self.action_net(latent_pi), self.action_net.weight
        if isinstance(self.action_dist, LatticeStateDependentDistribution):
            return self.action_dist.proba_distribution(mean, self.log_std, latent_pi, weight)
        assert isinstance(self.action_dist, LatticeDistribution)
        return self.action_dist.proba_distribution(mean, self.log_std, weight)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), **{name: getattr(self.noise, name) for name in _ARGUMENTS}}


class LatticePPOPolicy(LatticeActorCritic):
    """``PPO(LatticePPOPolicy, env)``: see :class:`LatticeActorCritic`."""

    def exported_head(self, takes_noise: bool = False) -> MeanHead:
        """
        The mean.

        :param takes_noise: Refused.
        :raises UnsupportedError: With noise, and for networks without exported form.
        """
        refuse_noise(takes_noise)
        return MeanHead(self)


class LatticeMultiInputPPOPolicy(LatticePPOPolicy, MultiInputActorCriticPolicy):
    """:class:`LatticePPOPolicy` for Dict observations."""


class LatticeRecurrentPPOPolicy(LatticeActorCritic, RecurrentActorCriticPolicy):
    """``RecurrentPPO(LatticeRecurrentPPOPolicy, env)``: see :class:`LatticeActorCritic`."""


class LatticeMultiInputRecurrentPPOPolicy(LatticeActorCritic, RecurrentMultiInputActorCriticPolicy):
    """:class:`LatticeRecurrentPPOPolicy` for Dict observations."""


class LatticePPO(Exportable, PPO):
    """SB3's PPO with Lattice's policies under SB3's names, MlpPolicy and MultiInputPolicy, as RL Zoo needs it."""

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": LatticePPOPolicy,
        "MultiInputPolicy": LatticeMultiInputPPOPolicy,
    }


class LatticeRecurrentPPO(RecurrentPPO):
    """sb3-contrib's RecurrentPPO with Lattice's policies, as MlpLstmPolicy and MultiInputLstmPolicy."""

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpLstmPolicy": LatticeRecurrentPPOPolicy,
        "MultiInputLstmPolicy": LatticeMultiInputRecurrentPPOPolicy,
    }

"""Policies of the off-policy algorithms with Lattice's noise."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sb3_qflex.export.heads import Head
from sb3_qflex.lattice.actors import LatticeActor, LatticeSourceActor
from sb3_qflex.lattice.exported import LatticeHead
from sb3_qflex.lattice.options import LatticeOptions
from sb3_qflex.qflex.policies import QFlexPolicy
from sb3_qflex.sac.policies import SACPolicy


class LatticeSACPolicy(LatticeOptions, SACPolicy):
    """
    SAC's policy with Lattice's noise.

    :param arguments: Of :class:`sb3_qflex.sac.policies.SACPolicy`
    :param keywords: Of the same; others as in :class:`sb3_qflex.lattice.options.LatticeNoise`
    """

    file_arguments: ClassVar[Mapping[str, tuple[type, ...]]] = {
        **SACPolicy.file_arguments,
        **LatticeOptions.noise_arguments,
    }
    actor: LatticeActor

    def make_actor(self, **arguments: Any) -> LatticeActor:
        """
        A new actor.

        :param arguments: Of SB3's ``Actor``.
        """
        return LatticeActor(self.noise, **arguments)

    def exported_head(self, takes_noise: bool = False) -> Head:
        """
        tanh(mean).

        :param takes_noise: Refused.
        :raises UnsupportedError: With noise, and for networks without exported form.
        """
        net = nn.Sequential(*self.actor.latent_pi, self.actor.mu)
        return LatticeHead(self.actor, net, self.action_dim, self.noise.mean_bound, takes_noise)


LatticeMultiInputSACPolicy = LatticeSACPolicy


class LatticeQFlexPolicy(LatticeOptions, QFlexPolicy):
    """
    QFlex's policy with Lattice's noise in its source policy; with ``exploration="source"`` it is CrossQ's.

    :param arguments: Of :class:`sb3_qflex.QFlexPolicy`
    :param keywords: Of the same; others as in :class:`sb3_qflex.lattice.options.LatticeNoise`
    """

    file_arguments: ClassVar[Mapping[str, tuple[type, ...]]] = {
        **QFlexPolicy.file_arguments,
        **LatticeOptions.noise_arguments,
    }
    actor: LatticeSourceActor

    def make_actor(self, **arguments: Any) -> LatticeSourceActor:
        return LatticeSourceActor(self.noise, **arguments)

    def _source(self, obs: PyTorchObs, deterministic: bool) -> th.Tensor:
        if self.noise.state_dependent and not deterministic:
            # The noise needs x, which the faster forms of the network do not give.
            return self.actor(obs)
        return super()._source(obs, deterministic)

    def source_head(self, takes_noise: bool) -> Head:
        return LatticeHead(self.actor, self.actor.net, self.action_dim, self.noise.mean_bound, takes_noise)


LatticeMultiInputQFlexPolicy = LatticeQFlexPolicy
#: CrossQ here is QFlex without its flow.
LatticeCrossQPolicy = LatticeQFlexPolicy

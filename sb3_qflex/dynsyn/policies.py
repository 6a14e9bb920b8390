"""DynSyn's policies: those of SAC and QFlex, acting on groups of muscles."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import Schedule

from sb3_qflex.common import validation
from sb3_qflex.common.networks import LOG_STD_MAX, LOG_STD_MIN
from sb3_qflex.common.policies import Policy
from sb3_qflex.dynsyn.actors import SynergyActor, SynergySource
from sb3_qflex.dynsyn.exported import SynergyHead
from sb3_qflex.dynsyn.synergies import Synergies
from sb3_qflex.envs.synergies.groups import GivenGroups, load_groups
from sb3_qflex.export.heads import Head
from sb3_qflex.qflex.policies import QFlexPolicy
from sb3_qflex.sac.policies import SACPolicy

_OWN: dict[str, tuple[type, ...]] = {"groups": (list,), "weight_log_std": (float, int)}


class SynergyPolicy(Policy):
    """
    Adds groups to a policy.

    :param groups: Lists of muscles from 0, the name of a preset, a JSON file of ``sb3-qflex synergies``, or None for
        each muscle by itself, which leaves the policy what it is without DynSyn
    :param weight_log_std: Fixed log standard deviation of the weights' noise, -20 to 2
    :param arguments: Of the policy
    :raises ValueError: If the groups do not fit the muscles
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        *arguments: Any,
        groups: GivenGroups | None = None,
        weight_log_std: float = 0.5,
        **keywords: Any,
    ):
        validation.check_number("weight_log_std", weight_log_std, LOG_STD_MIN, LOG_STD_MAX)
        validation.check_spaces(observation_space, action_space)
        # Plain values, set before there are networks, which are built with them.
        self.groups = load_groups(groups, get_action_dim(action_space))
        self.weight_log_std = weight_log_std
        # The base is that of a policy with networks, which takes its learning rate there.
        super().__init__(observation_space, action_space, lr_schedule, *arguments, **keywords)  # type: ignore[arg-type]

    @property
    def synergies(self) -> Synergies:
        """The groups, with the amplitude of their weights."""
        return self.actor.synergies


class DynSynSACPolicy(SynergyPolicy, SACPolicy):
    """SAC's policy on groups, see :class:`SynergyPolicy` and :class:`sb3_qflex.sac.policies.SACPolicy`."""

    file_arguments: ClassVar[Mapping[str, tuple[type, ...]]] = {**SACPolicy.file_arguments, **_OWN}
    actor: SynergyActor

    def make_actor(self, **arguments: Any) -> SynergyActor:
        """
        A new actor.

        :param arguments: Of SB3's ``Actor``.
        """
        return SynergyActor(groups=self.groups, weight_log_std=self.weight_log_std, **arguments)

    def exported_head(self, takes_noise: bool = False) -> Head:
        """
        Deterministic actions, or a sample.

        :param takes_noise: Whether it samples, with standard normal noise (B, \\|A\\|) as an input, of which the first
            G columns are the groups'.
        :raises UnsupportedError: For networks without exported form.
        """
        return SynergyHead(self.actor, self.actor.exported_net(), self.actor.synergies, takes_noise)


DynSynSACMultiInputPolicy = DynSynSACPolicy


class DynSynQFlexPolicy(SynergyPolicy, QFlexPolicy):
    """QFlex's policy whose source acts on groups, see :class:`SynergyPolicy` and :class:`sb3_qflex.QFlexPolicy`."""

    file_arguments: ClassVar[Mapping[str, tuple[type, ...]]] = {**QFlexPolicy.file_arguments, **_OWN}

    def make_actor(self, **arguments: Any) -> SynergySource:
        """
        A new source policy.

        :param arguments: Of :class:`sb3_qflex.common.networks.SourceActor`.
        """
        return SynergySource(groups=self.groups, weight_log_std=self.weight_log_std, **arguments)

    def source_head(self, takes_noise: bool) -> Head:
        """
        What of an exported policy makes the source action.

        :param takes_noise: Whether it is sampled.
        """
        actor = cast(SynergySource, self.actor)
        return SynergyHead(actor, actor.net, actor.synergies, takes_noise)


DynSynQFlexMultiInputPolicy = DynSynQFlexPolicy


class DynSynCrossQPolicy(DynSynQFlexPolicy):
    """:class:`DynSynQFlexPolicy` under a name by which a model is known to be CrossQ's."""

    file_arguments = DynSynQFlexPolicy.file_arguments


DynSynCrossQMultiInputPolicy = DynSynCrossQPolicy

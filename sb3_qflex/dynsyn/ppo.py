"""DynSyn on SB3's PPO, whose policy's density is that of what it draws: groups' actions, and weights once they act."""

from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import DiagGaussianDistribution, sum_independent_dims
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_qflex.common import options, validation
from sb3_qflex.common.keywords import check_keywords, without_sde
from sb3_qflex.common.networks import LOG_STD_MAX, LOG_STD_MIN
from sb3_qflex.dynsyn.exported import SynergyMeanHead
from sb3_qflex.dynsyn.schedule import WeightSchedule
from sb3_qflex.dynsyn.synergies import Synergies
from sb3_qflex.envs.synergies.groups import GivenGroups, load_groups
from sb3_qflex.export.exportable import Exportable


class LatentGaussian(DiagGaussianDistribution):
    """
    SB3's Gaussian over G actions of groups and \\|A\\| - G numbers whose tanh is e, the latter with a fixed deviation.

    Without an amplitude e has no effect, and only the groups have a density.

    :param synergies: Groups, with the amplitude of their weights
    :param weight_log_std: The fixed log standard deviation
    """

    def __init__(self, synergies: Synergies, weight_log_std: float):
        super().__init__(len(synergies.order))
        self.synergies = synergies
        self.weight_log_std = weight_log_std

    def proba_distribution(self, mean_actions: th.Tensor, log_std: th.Tensor) -> "LatentGaussian":
        super().proba_distribution(mean_actions, self.log_std(log_std))
        return self

    def log_std(self, learned: th.Tensor) -> th.Tensor:
        """
        Log standard deviations of what is drawn.

        :param learned: The parameter, shape (\\|A\\|,), of which groups take theirs
        :return: Shape (\\|A\\|,)
        """
        n = self.synergies.n_groups
        return th.cat([learned[:n], th.full_like(learned[n:], self.weight_log_std)])

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        """
        :param actions: Latent numbers, shape (B, \\|A\\|)
        :return: Shape (B,)
        """
        return sum_independent_dims(self._with_density(self.distribution.log_prob(actions)))

    def entropy(self) -> th.Tensor:
        return sum_independent_dims(self._with_density(self.distribution.entropy()))

    def _with_density(self, values: th.Tensor) -> th.Tensor:
        return values if self.synergies.amplitude > 0.0 else values[:, : self.synergies.n_groups]


class SynergyActorCritic(ActorCriticPolicy):
    """
    Adds groups to SB3's actor-critic policy.

    What a rollout stores is what was drawn, \\|A\\| latent numbers; muscles get their groups' actions, in the units of
    the environment as with SB3's PPO, times their weights, clipped to the box.

    :param groups: See :class:`sb3_qflex.dynsyn.policies.SynergyPolicy`
    :param weight_log_std: Fixed log standard deviation of the weights' noise, -20 to 2
    :param keywords: Of SB3's policy, without gSDE
    :raises ValueError: If the groups do not fit the muscles
    """

    action_dist: LatentGaussian

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
        validation.check_action_space(action_space)
        self.groups = load_groups(groups, get_action_dim(action_space))
        self.weight_log_std = weight_log_std
        super().__init__(
            observation_space, action_space, lr_schedule, *arguments, **without_sde(type(self).__name__, keywords)
        )
        self.synergies = Synergies(self.groups, weight_log_std)
        self.action_dist = LatentGaussian(self.synergies, weight_log_std)
        # By this SB3 takes the actions of muscles from unscale_action.
        self._squash_output = True

    def unscale_action(self, scaled_action: np.ndarray) -> np.ndarray:
        """
        Actions of muscles.

        :param scaled_action: What was drawn, shape (B, \\|A\\|)
        :return: Shape (B, \\|A\\|), in the box of the environment
        """
        space, n = self.action_space, self.synergies.n_groups
        assert isinstance(space, spaces.Box)
        latent = th.as_tensor(scaled_action, device=self.device).reshape(-1, len(self.synergies.order))
        actions = self.synergies.spread(latent[:, :n], latent[:, n:].tanh()).cpu().numpy()
        return np.clip(actions.reshape(scaled_action.shape), space.low, space.high)

    def exported_head(self, takes_noise: bool = False) -> SynergyMeanHead:
        """
        The exported form.

        :param takes_noise: Whether it samples.
        :raises UnsupportedError: For networks without exported form.
        """
        return SynergyMeanHead(self, self.synergies, self.action_dist.log_std(self.log_std), takes_noise)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "groups": self.groups,
            "weight_log_std": self.weight_log_std,
        }


class DynSynPPOPolicy(SynergyActorCritic):
    """SB3's ``MlpPolicy`` on groups, see :class:`SynergyActorCritic`."""


class DynSynPPOMultiInputPolicy(SynergyActorCritic, MultiInputActorCriticPolicy):
    """SB3's ``MultiInputPolicy`` on groups, see :class:`SynergyActorCritic`."""


class DynSynPPO(WeightSchedule, Exportable, PPO):
    """
    SB3's PPO whose policy acts on groups of muscles (DynSyn, arXiv 2407.11472).

    The amplitude A of the weights is set before each rollout, so that a rollout and its updates have the same one.

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of DynSynPPOPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param arguments: As for SB3's PPO, without gSDE; ``policy_kwargs`` has ``groups`` and ``weight_log_std``
    :param weight_k: See :class:`sb3_qflex.DynSynSAC`
    :param weight_a0: See :class:`sb3_qflex.DynSynSAC`
    :param weight_amp: See :class:`sb3_qflex.DynSynSAC`
    :raises ValueError: for values out of range, and groups that do not hold each muscle once
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": DynSynPPOPolicy,
        "MultiInputPolicy": DynSynPPOMultiInputPolicy,
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str,
        *arguments: Any,
        weight_k: float = 5e-8,
        weight_a0: float = 1e6,
        weight_amp: float | None = None,
        _init_setup_model: bool = True,
        **keywords: Any,
    ):
        keywords = without_sde("DynSynPPO", keywords)
        check_keywords("DynSynPPO", keywords, DynSynPPO)
        super().__init__(policy, env, *arguments, _init_setup_model=False, **keywords)  # type: ignore[misc]
        self.weight_k = weight_k
        self.weight_a0 = weight_a0
        self.weight_amp = weight_amp
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        options.check_options(self)
        super()._setup_model()
        self._keep_groups()
        self._fix_amplitude()

    def collect_rollouts(self, *arguments: Any, **keywords: Any) -> bool:
        """
        Set A for the steps so far, and fill the rollout buffer.

        :param arguments: Of SB3's.
        :param keywords: Of SB3's.
        """
        self._advance_amplitude()
        self.logger.record("train/weight_amplitude", float(self.synergies.amplitude))
        return super().collect_rollouts(*arguments, **keywords)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), options.IN_USE]

"""DynSyn on SAC, CrossQ and QFlex: when the weights of single muscles come in."""

import math
from typing import Any, ClassVar

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, PyTorchObs

from sb3_qflex.common import options, validation
from sb3_qflex.common.entropy import EntropyRegularised
from sb3_qflex.dynsyn.policies import (
    DynSynCrossQMultiInputPolicy,
    DynSynCrossQPolicy,
    DynSynQFlexMultiInputPolicy,
    DynSynQFlexPolicy,
    DynSynSACMultiInputPolicy,
    DynSynSACPolicy,
)
from sb3_qflex.dynsyn.schedule import WeightSchedule
from sb3_qflex.qflex.crossq import CrossQ
from sb3_qflex.qflex.qflex import QFlex
from sb3_qflex.sac.sac import SAC

_TARGETS = ("auto", "reference")


def _check_target_entropy(_: Any, name: str, value: Any) -> None:
    if not isinstance(value, str):
        return validation.check_number(name, value, minimum=-math.inf)
    validation.check_choice(name, value, _TARGETS)


class DynSyn(WeightSchedule, EntropyRegularised):
    """
    What DynSyn adds to an algorithm with a Gaussian policy: the amplitude A of the weights, set once in each ``train``,
    and a target entropy for the G dimensions that the log-probability is of.
    """

    policy: Any
    target_entropy: str | float = options.option(_check_target_entropy, lambda model, _: model._set_target_entropy())

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        *arguments: Any,
        weight_k: float = 5e-8,
        weight_a0: float = 1e6,
        weight_amp: float | None = None,
        _init_setup_model: bool = True,
        **keywords: Any,
    ):
        super().__init__(policy, env, *arguments, _init_setup_model=False, **keywords)
        self.weight_k = weight_k
        self.weight_a0 = weight_a0
        self.weight_amp = weight_amp
        if _init_setup_model:
            self._setup_model()

    def _create_aliases(self) -> None:
        self._keep_groups()
        super()._create_aliases()
        self._fix_amplitude()

    def _set_target_entropy(self) -> None:
        sizes = {"auto": self.synergies.n_groups, "reference": self.policy.action_dim}
        if isinstance(self.target_entropy, str):
            self.target_entropy = -float(sizes[self.target_entropy])

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """
        Set A for the steps so far, then sample the replay buffer and update the networks.

        :param gradient_steps: Number of batches, at least 1.
        :param batch_size: Transitions in each.
        """
        self._advance_amplitude()
        super().train(gradient_steps, batch_size)

    def diagnostics(self, observations: PyTorchObs) -> dict[str, float]:
        """
        The amplitude A, beside what the algorithm itself logs.

        :param observations: Of the last batch.
        """
        return {**super().diagnostics(observations), "weight_amplitude": float(self.synergies.amplitude)}


class DynSynSAC(DynSyn, SAC):
    """
    SAC whose policy acts on groups of muscles (DynSyn, He et al. 2024).
    Paper: https://arxiv.org/abs/2407.11472

    Muscles of a group get its action a_g; later each muscle but the first of its group gets clip(a_g w, -1, 1), with
    w = 1 + clip(0.1 e, -A, A) and e a small network output, A = min(0.1, max(0, k (n - a0))) after n steps. The entropy
    is that of the groups' Gaussian alone. With ``groups=None`` it is SAC.

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of DynSynSACPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param arguments: As for :class:`sb3_qflex.sac.sac.SAC`, whose defaults are kept
    :param weight_k: k, growth of A per step; the paper has 5e-8 for 3e6 steps, the authors' later code 5e-9 for 5e7
    :param weight_a0: a0, steps of all environments before A grows; 1e6 there, and 3e7
    :param weight_amp: A fixed A in [0, 0.1] in place of the schedule
    :param target_entropy: by default ("auto") -G; "reference" for -\\|A\\|, as the authors' first code has it
    :param policy_kwargs: ``groups`` (lists, the name of a preset, or a JSON file of ``sb3-qflex synergies``),
        ``weight_log_std`` (0.5), and those of SAC's policy
    :raises ValueError: for values out of range, and groups that do not hold each muscle once
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": DynSynSACPolicy,
        "MultiInputPolicy": DynSynSACMultiInputPolicy,
    }
    policy_base = DynSynSACPolicy


class DynSynQFlex(DynSyn, QFlex):
    """
    QFlex whose source policy acts on groups of muscles: the flow then moves single muscles.

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of DynSynQFlexPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param arguments: As for :class:`sb3_qflex.QFlex`, whose defaults are kept
    :param weight_k: See :class:`DynSynSAC`
    :param weight_a0: See :class:`DynSynSAC`
    :param weight_amp: See :class:`DynSynSAC`
    :raises ValueError: for values out of range, and groups that do not hold each muscle once
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": DynSynQFlexPolicy,
        "MultiInputPolicy": DynSynQFlexMultiInputPolicy,
    }
    policy_base = DynSynQFlexPolicy


class DynSynCrossQ(CrossQ, DynSynQFlex):
    """
    CrossQ (arXiv 1902.05605) whose policy acts on groups of muscles: critics with BatchRenorm and without targets.

    It is :class:`DynSynQFlex` with CrossQ's defaults for what explores, alpha and the delay of the policy.

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of DynSynCrossQPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param arguments: As for :class:`DynSynQFlex`
    :param ent_coef: Entropy regularization coefficient alpha, learned by default
    :param policy_delay: The policy is updated every ``policy_delay`` gradient steps
    :param exploration: What acts, by default the policy itself
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": DynSynCrossQPolicy,
        "MultiInputPolicy": DynSynCrossQMultiInputPolicy,
    }
    policy_base = DynSynCrossQPolicy

    def __init__(self, policy: str | type[BasePolicy], env: GymEnv | str, *arguments: Any, policy_delay: int = 3,
                 **keywords: Any):  # fmt: skip
        super().__init__(policy, env, *arguments, policy_delay=policy_delay, **keywords)

"""Off-policy algorithms with Lattice's noise (arXiv 2305.20065)."""

from typing import Any, ClassVar

import numpy as np
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy

from sb3_qflex.common.off_policy import OffPolicyBase
from sb3_qflex.lattice.policies import (
    LatticeMultiInputQFlexPolicy,
    LatticeMultiInputSACPolicy,
    LatticeQFlexPolicy,
    LatticeSACPolicy,
)
from sb3_qflex.qflex.crossq import CrossQ
from sb3_qflex.qflex.qflex import QFlex
from sb3_qflex.sac.sac import SAC


class LatticeExploration(OffPolicyBase):
    """
    Collects with noise that the policy's actor may hold for some steps, and keeps it in checkpoints.

    Noise is held while training collects; ``predict`` draws it anew for each row.
    """

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        with self.policy.actor.exploring():
            return super()._sample_action(learning_starts, action_noise, n_envs)

    def training_state(self) -> dict[str, Any]:
        """As in the base class, with the noise that is held."""
        return {**super().training_state(), "exploration": self.policy.actor.exploration_state()}

    def restore_training_state(self, state: dict[str, Any]) -> None:
        """
        :param state: What :meth:`training_state` gave; tensors on the device of the model.
        """
        super().restore_training_state(state)
        self.policy.actor.restore_exploration(state["exploration"])


class LatticeSAC(LatticeExploration, SAC):
    """
    SAC with Lattice's noise, which the output weights correlate across actuators.
    Paper: https://arxiv.org/abs/2305.20065 (NeurIPS 2023)

    The noise is set in ``policy_kwargs``, see :class:`sb3_qflex.lattice.options.LatticeNoise`; ``use_sde`` is not: the
    state-dependent form is ``policy_kwargs=dict(state_dependent=True)``.

    :param arguments: Of :class:`sb3_qflex.sac.sac.SAC`
    :param keywords: Of :class:`sb3_qflex.sac.sac.SAC`
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": LatticeSACPolicy,
        "MultiInputPolicy": LatticeMultiInputSACPolicy,
    }
    policy_base = LatticeSACPolicy
    policy: LatticeSACPolicy


class LatticeQFlex(LatticeExploration, QFlex):
    """
    QFlex whose source policy has Lattice's noise; the noise is set in ``policy_kwargs`` as for :class:`LatticeSAC`.

    :param arguments: Of :class:`sb3_qflex.QFlex`
    :param keywords: Of :class:`sb3_qflex.QFlex`
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": LatticeQFlexPolicy,
        "MultiInputPolicy": LatticeMultiInputQFlexPolicy,
    }
    policy_base = LatticeQFlexPolicy
    policy: LatticeQFlexPolicy


class LatticeCrossQ(CrossQ, LatticeQFlex):
    """
    CrossQ with Lattice's noise: :class:`LatticeQFlex` without its flow (BatchRenorm, joint passes and no target critics
    are CrossQ's) and with a learned entropy coefficient, which are the defaults of two arguments here.

    :param policy: The policy model to use (MlpPolicy, MultiInputPolicy, or a subclass of LatticeQFlexPolicy)
    :param env: The environment to learn from (if registered in Gym, can be str)
    :param learning_rate: As there
    :param ent_coef: As there
    :param exploration: As there
    :param keywords: Of :class:`sb3_qflex.QFlex`
    """

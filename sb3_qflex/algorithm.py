"""What an algorithm here subclasses: the common base, with checkpoints and exports."""

import os
from typing import Any, TypeVar

import torch as th
from stable_baselines3.common.type_aliases import GymEnv

from sb3_qflex.checkpoint.resuming import resume
from sb3_qflex.common.off_policy import OffPolicyBase
from sb3_qflex.export.exportable import Exportable

SelfAlgorithm = TypeVar("SelfAlgorithm", bound="Algorithm")


class Algorithm(Exportable, OffPolicyBase):
    """
    Base class of the off-policy algorithms here.

    A subclass supplies

    - its options, as class attributes made by :mod:`sb3_qflex.common.options` (``of_policy`` for those that the policy
      acts with), and a constructor that takes them, passes the others on and ends with ``self._setup_model()`` where
      ``_init_setup_model`` is true;
    - ``policy_aliases`` and ``policy_base``: its policies, subclasses of :class:`sb3_qflex.common.policies.Policy`,
      which build networks and optimizers and say what ``predict`` does; ``optimizers`` and ``target_networks``, their
      attributes;
    - :meth:`gradient_step`: one update, with :meth:`minimise` for each loss and :meth:`check_divergence` for Q;
    - ``smallest_batch`` and ``diagnostics`` where it has something to say there;
    - outside of the class: a call of :func:`sb3_qflex.zoo.registration.register_algorithm`, with a tuning space and a
      YAML file.

    It has for that: a replay buffer that is allocated late, guards against bad states and divergence, learning that
    goes on well, atomic files with versions, checkpoints that resume bit for bit, exports, and runs of studies.
    """

    @classmethod
    def resume(cls: type[SelfAlgorithm], folder: str | os.PathLike[str], env: GymEnv, device: th.device | str = "auto",
               custom_objects: dict[str, Any] | None = None) -> SelfAlgorithm:  # fmt: skip
        """
        Go on from the last checkpoint that a ``TrainingCheckpoint`` left, as if training had never stopped::

            model = QFlex.resume(folder, env)
            model.learn(total - model.num_timesteps, TrainingCheckpoint(folder), reset_num_timesteps=False)

        :param folder: The checkpoint folder
        :param env: A new training environment, made and wrapped as before; it is put where the old one was
        :param device: Device on which the code should run
        :param custom_objects: as in ``load``
        :raises CheckpointError: if there is no checkpoint that loads, the folder is in use, or the environment does not
            fit
        """
        return resume(cls, folder, env, device, custom_objects)

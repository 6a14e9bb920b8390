"""The methods of a policy that write and read policy files."""

from pathlib import Path
from typing import Any, TypeVar

import torch as th
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex.common.policies import Policy

SelfPolicy = TypeVar("SelfPolicy", bound="ShareablePolicy")

#: What torch.save writes starts so.
_ZIP = b"PK\x03\x04"


class ShareablePolicy(Policy):
    """A policy that can be written to a file without pickles, see :mod:`sb3_qflex.export.policy_file`."""

    def export_policy(
        self, path: str | Path, vec_normalize: VecNormalize | None = None, task: str | None = None
    ) -> Path:
        """
        Write the policy to a file that is safe to open, for :meth:`load`.

        :param path: Target; gets the suffix .safetensors if it has none. An older file is replaced, atomically.
        :param vec_normalize: Statistics that its observations are normalised with, for
            :func:`sb3_qflex.export.load_vec_normalize`.
        :param task: Id of the task, for the reader.
        :return: The file.
        :raises ValueError: If the policy needs code of its own, which such a file cannot carry.
        """
        from sb3_qflex.export.policy_file import save_policy

        return save_policy(self, path, vec_normalize, task)

    @classmethod
    def load(cls: type[SelfPolicy], path: Any, device: th.device | str = "auto") -> SelfPolicy:
        """
        Load a policy from a file of :meth:`export_policy`, unpickling nothing, or from one of ``save``.

        A file of ``save`` is a pickle, which can run any code: open none from a stranger. A path that ends with
        .safetensors is never unpickled.

        :param path: The file.
        :param device: Device on which the policy should run.
        :raises ValueError: If the file is neither, or damaged.
        """
        from sb3_qflex.export.policy_file import SUFFIX, load_policy

        if not isinstance(path, (str, Path)):
            return super().load(path, device)
        if Path(path).suffix != SUFFIX:
            with open(path, "rb") as file:
                if file.read(len(_ZIP)) == _ZIP:
                    return super().load(str(path), device)
        return load_policy(cls, path, device)

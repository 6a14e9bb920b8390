"""Files of a model: SB3's zip-file written atomically, exports of its policy, and checkpoints of a whole training."""

import io
import os
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch as th
from stable_baselines3.common.type_aliases import GymEnv

from sb3_qflex import export
from sb3_qflex.common.off_policy import CollectingAlgorithm
from sb3_qflex.common.persistence import write_atomically
from sb3_qflex.common.versions import describe_versions

if TYPE_CHECKING:
    from sb3_qflex.qflex.qflex import QFlex  # the one class that is built on this one

SelfSaving = TypeVar("SelfSaving", bound="SavingAlgorithm")


class SavingAlgorithm(CollectingAlgorithm):
    """Differences to SB3's class: a file is replaced only by a complete one, and says which versions wrote it."""

    def save(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """
        Save all the attributes of the object and the model parameters in a zip-file, atomically.

        :param path: path to the file where the rl agent should be saved
        :param exclude: name of parameters that should be excluded in addition to the default ones
        :param include: name of parameters that might be excluded but should be included anyway
        """
        self.saved_versions = describe_versions()
        if isinstance(path, (str, pathlib.Path)):
            # The archive takes shape in memory: a seekable file of its own would not outlive a crash in between.
            archive = io.BytesIO()
            super().save(archive, exclude, include)
            write_atomically(path, lambda file: file.write(archive.getbuffer()), "zip")
        else:
            super().save(path, exclude, include)

    def export_onnx(self, path: str | pathlib.Path, **options: Any) -> pathlib.Path:
        """
        Write the deterministic policy as one ONNX file, see :func:`sb3_qflex.export.export_onnx`.

        :param path: Target.
        :param options: ``vec_normalize``, ``flow_steps``, ``noise``, ``task``.
        :return: The file.
        """
        return export.export_onnx(cast("QFlex", self), path, **options)

    def export_torchscript(self, path: str | pathlib.Path, **options: Any) -> pathlib.Path:
        """
        Write the deterministic policy as a TorchScript file, see :func:`sb3_qflex.export.export_torchscript`.

        :param path: Target.
        :param options: ``vec_normalize``, ``flow_steps``, ``noise``, ``task``.
        :return: The file.
        """
        return export.export_torchscript(cast("QFlex", self), path, **options)

    @classmethod
    def resume(cls: type[SelfSaving], folder: str | os.PathLike[str], env: GymEnv, device: th.device | str = "auto",
               custom_objects: dict[str, Any] | None = None) -> SelfSaving:  # fmt: skip
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
        from sb3_qflex.checkpoint.resuming import resume  # which builds on this class

        return cast(SelfSaving, resume(cast("type[QFlex]", cls), folder, env, device, custom_objects))

"""The methods by which a model writes its policy for use elsewhere."""

from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from sb3_qflex import export


class Exportable(BaseAlgorithm):
    """An algorithm whose policy has an exported form."""

    def export_onnx(self, path: str | Path, **options: Any) -> Path:
        """
        Write the deterministic policy as one ONNX file, see :func:`sb3_qflex.export.export_onnx`.

        :param path: Target.
        :param options: ``vec_normalize``, ``noise``, ``task``, and those of the algorithm, such as ``flow_steps``.
        :return: The file.
        """
        return export.export_onnx(self, path, **options)

    def export_torchscript(self, path: str | Path, **options: Any) -> Path:
        """
        Write the deterministic policy as a TorchScript file, see :func:`sb3_qflex.export.export_torchscript`.

        :param path: Target.
        :param options: As for :meth:`export_onnx`.
        :return: The file.
        """
        return export.export_torchscript(self, path, **options)

"""
From a trained policy to where it is used: ONNX, TorchScript, and a policy file that is safe to open.

Public names are loaded on first use: onnx is optional, and the policy file needs little.
"""

from typing import TYPE_CHECKING

from sb3_qflex.common.lazy import lazy_names

if TYPE_CHECKING:
    from sb3_qflex.export.onnx_file import export_myochallenge, export_onnx, onnx_session
    from sb3_qflex.export.policy_file import load_vec_normalize
    from sb3_qflex.export.torchscript import export_torchscript

__all__ = ["export_myochallenge", "export_onnx", "export_torchscript", "load_vec_normalize", "onnx_session"]

_HOME = {
    "export_myochallenge": "sb3_qflex.export.onnx_file",
    "export_onnx": "sb3_qflex.export.onnx_file",
    "export_torchscript": "sb3_qflex.export.torchscript",
    "load_vec_normalize": "sb3_qflex.export.policy_file",
    "onnx_session": "sb3_qflex.export.onnx_file",
}

__getattr__, __dir__ = lazy_names(__name__, _HOME, __all__)

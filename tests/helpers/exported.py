"""What is fed to exported policies, and how an ONNX file is run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sb3_qflex.export.policy_module import ExportedPolicy


def inputs_of(exported: ExportedPolicy, obs: Any) -> dict[str, np.ndarray]:
    """The exported policy's inputs: float32 and flat."""
    by_name = obs if isinstance(obs, dict) else {"obs": obs}
    return {
        name: np.asarray(by_name[name], np.float32).reshape(-1, encoder.dim)
        for name, encoder in zip(exported.names, exported.encoders, strict=True)
    }


def run_onnx(file: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Actions; the test is skipped where the packages for them are absent."""
    onnx_file = pytest.importorskip("sb3_qflex.export.onnx_file")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return onnx_file.onnx_session(file).run(None, inputs)[0]

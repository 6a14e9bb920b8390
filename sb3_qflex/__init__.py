"""QFlex (Q-guided Flow Exploration, arXiv 2601.19707) for Stable-Baselines3.

Public names are loaded on first use, so that importing a light part (``sb3_qflex.envs``, say, in a worker
process) does not import torch.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sb3_qflex.analysis.callback import DiagnosticsCallback
    from sb3_qflex.checkpoint.callback import TrainingCheckpoint
    from sb3_qflex.checkpoint.errors import CheckpointError
    from sb3_qflex.policies import QFlexPolicy
    from sb3_qflex.qflex import QFlex

__version__ = (Path(__file__).parent / "version.txt").read_text().strip()

__all__ = ["CheckpointError", "DiagnosticsCallback", "QFlex", "QFlexPolicy", "TrainingCheckpoint", "__version__"]

_HOME = {
    "CheckpointError": "sb3_qflex.checkpoint.errors",
    "DiagnosticsCallback": "sb3_qflex.analysis.callback",
    "QFlex": "sb3_qflex.qflex",
    "QFlexPolicy": "sb3_qflex.policies",
    "TrainingCheckpoint": "sb3_qflex.checkpoint.callback",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

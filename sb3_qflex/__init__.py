"""QFlex (Q-guided Flow Exploration, arXiv 2601.19707) for Stable-Baselines3.

Public names are loaded on first use, so that importing a light part (``sb3_qflex.envs``, say, in a worker
process) does not import torch.
"""

from typing import TYPE_CHECKING

from sb3_qflex.common.lazy import lazy_names
from sb3_qflex.common.version import VERSION as __version__

if TYPE_CHECKING:
    from sb3_qflex.analysis.callback import DiagnosticsCallback
    from sb3_qflex.checkpoint.callback import TrainingCheckpoint
    from sb3_qflex.checkpoint.errors import CheckpointError
    from sb3_qflex.common.repeat_until import RepeatUntil
    from sb3_qflex.common.replay_hindsight import HindsightReplayBuffer
    from sb3_qflex.common.replay_recent import (
        DictGeometricReplayBuffer,
        DictRecentReplayBuffer,
        GeometricReplayBuffer,
        RecentReplayBuffer,
    )
    from sb3_qflex.dacer.dacer import DACER
    from sb3_qflex.dep.algorithms import DEPSAC, DEPCrossQ, DEPQFlex
    from sb3_qflex.dep.config import DEPConfig
    from sb3_qflex.dpmd.dpmd import DPMD
    from sb3_qflex.dynsyn.dynsyn import DynSynCrossQ, DynSynQFlex, DynSynSAC
    from sb3_qflex.dynsyn.ppo import DynSynPPO
    from sb3_qflex.flowrl.flowrl import FlowRL
    from sb3_qflex.flowrl.policies import FlowRLPolicy
    from sb3_qflex.lattice.lattice import LatticeCrossQ, LatticeQFlex, LatticeSAC
    from sb3_qflex.lattice.on_policy import (
        LatticeMultiInputPPOPolicy,
        LatticeMultiInputRecurrentPPOPolicy,
        LatticePPO,
        LatticePPOPolicy,
        LatticeRecurrentPPO,
        LatticeRecurrentPPOPolicy,
    )
    from sb3_qflex.maxinfo.maxinfo import MaxInfoCrossQ, MaxInfoSAC
    from sb3_qflex.qflex.policies import QFlexPolicy
    from sb3_qflex.qflex.qflex import QFlex
    from sb3_qflex.qsm.qsm import QSM
    from sb3_qflex.sdac.sdac import SDAC


__all__ = [
    "DACER",
    "DEPSAC",
    "DPMD",
    "QSM",
    "SDAC",
    "CheckpointError",
    "DEPConfig",
    "DEPCrossQ",
    "DEPQFlex",
    "DiagnosticsCallback",
    "DictGeometricReplayBuffer",
    "DictRecentReplayBuffer",
    "DynSynCrossQ",
    "DynSynPPO",
    "DynSynQFlex",
    "DynSynSAC",
    "FlowRL",
    "FlowRLPolicy",
    "GeometricReplayBuffer",
    "HindsightReplayBuffer",
    "LatticeCrossQ",
    "LatticeMultiInputPPOPolicy",
    "LatticeMultiInputRecurrentPPOPolicy",
    "LatticePPO",
    "LatticePPOPolicy",
    "LatticeQFlex",
    "LatticeRecurrentPPO",
    "LatticeRecurrentPPOPolicy",
    "LatticeSAC",
    "MaxInfoCrossQ",
    "MaxInfoSAC",
    "QFlex",
    "QFlexPolicy",
    "RecentReplayBuffer",
    "RepeatUntil",
    "TrainingCheckpoint",
    "__version__",
]

_HOME = {
    "CheckpointError": "sb3_qflex.checkpoint.errors",
    "DACER": "sb3_qflex.dacer.dacer",
    "DEPConfig": "sb3_qflex.dep.config",
    "DEPCrossQ": "sb3_qflex.dep.algorithms",
    "DEPQFlex": "sb3_qflex.dep.algorithms",
    "DEPSAC": "sb3_qflex.dep.algorithms",
    "DPMD": "sb3_qflex.dpmd.dpmd",
    "DiagnosticsCallback": "sb3_qflex.analysis.callback",
    "DictGeometricReplayBuffer": "sb3_qflex.common.replay_recent",
    "DictRecentReplayBuffer": "sb3_qflex.common.replay_recent",
    "DynSynCrossQ": "sb3_qflex.dynsyn.dynsyn",
    "DynSynPPO": "sb3_qflex.dynsyn.ppo",
    "DynSynQFlex": "sb3_qflex.dynsyn.dynsyn",
    "DynSynSAC": "sb3_qflex.dynsyn.dynsyn",
    "FlowRL": "sb3_qflex.flowrl.flowrl",
    "FlowRLPolicy": "sb3_qflex.flowrl.policies",
    "GeometricReplayBuffer": "sb3_qflex.common.replay_recent",
    "HindsightReplayBuffer": "sb3_qflex.common.replay_hindsight",
    "LatticeCrossQ": "sb3_qflex.lattice.lattice",
    "LatticeMultiInputPPOPolicy": "sb3_qflex.lattice.on_policy",
    "LatticeMultiInputRecurrentPPOPolicy": "sb3_qflex.lattice.on_policy",
    "LatticePPO": "sb3_qflex.lattice.on_policy",
    "LatticePPOPolicy": "sb3_qflex.lattice.on_policy",
    "LatticeQFlex": "sb3_qflex.lattice.lattice",
    "LatticeRecurrentPPO": "sb3_qflex.lattice.on_policy",
    "LatticeRecurrentPPOPolicy": "sb3_qflex.lattice.on_policy",
    "LatticeSAC": "sb3_qflex.lattice.lattice",
    "MaxInfoCrossQ": "sb3_qflex.maxinfo.maxinfo",
    "MaxInfoSAC": "sb3_qflex.maxinfo.maxinfo",
    "QFlex": "sb3_qflex.qflex.qflex",
    "QFlexPolicy": "sb3_qflex.qflex.policies",
    "QSM": "sb3_qflex.qsm.qsm",
    "RecentReplayBuffer": "sb3_qflex.common.replay_recent",
    "RepeatUntil": "sb3_qflex.common.repeat_until",
    "SDAC": "sb3_qflex.sdac.sdac",
    "TrainingCheckpoint": "sb3_qflex.checkpoint.callback",
}

__getattr__, __dir__ = lazy_names(__name__, _HOME, __all__)

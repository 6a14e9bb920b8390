"""The paper's systems, and two instruments to study exploration against |A|, as Gymnasium ids.

Importing this package registers the ids (see :mod:`sb3_qflex.envs.catalogue`) and imports neither torch nor a
simulator; ``python -m sb3_qflex.envs`` lists the ids and says which can be made on this machine.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sb3_qflex.envs.catalogue import CATALOGUE, register_envs

if TYPE_CHECKING:
    from sb3_qflex.envs.planar_chain import PlanarChain
    from sb3_qflex.envs.planar_chain_vec import PlanarChainVecEnv
    from sb3_qflex.envs.wrappers import OverActuated, SigmoidExcitation, SparseReward

__all__ = [
    "CATALOGUE",
    "OverActuated",
    "PlanarChain",
    "PlanarChainVecEnv",
    "SigmoidExcitation",
    "SparseReward",
    "register_envs",
]

_HOME = {
    "OverActuated": "sb3_qflex.envs.wrappers",
    "PlanarChain": "sb3_qflex.envs.planar_chain",
    # Loaded on first use only: Stable-Baselines3's VecEnv brings torch with it.
    "PlanarChainVecEnv": "sb3_qflex.envs.planar_chain_vec",
    "SigmoidExcitation": "sb3_qflex.envs.wrappers",
    "SparseReward": "sb3_qflex.envs.wrappers",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


register_envs()

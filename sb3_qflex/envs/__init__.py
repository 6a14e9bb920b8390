"""The paper's systems, and two instruments to study exploration against |A|, as Gymnasium ids.

Importing this package registers the ids (see :mod:`sb3_qflex.envs.catalogue`) and imports neither torch nor a
simulator; ``sb3-qflex envs list`` lists the ids and says which can be made on this machine.
"""

from typing import TYPE_CHECKING

from sb3_qflex.common.lazy import lazy_names
from sb3_qflex.envs.catalogue import CATALOGUE, register_envs

if TYPE_CHECKING:
    from sb3_qflex.envs.action_repeat import ActionRepeat, SuccessAtAnyStep
    from sb3_qflex.envs.goals import DistanceGoals
    from sb3_qflex.envs.muscle_sensors import MuscleSensors
    from sb3_qflex.envs.planar_chain import PlanarChain
    from sb3_qflex.envs.planar_chain_vec import PlanarChainVecEnv
    from sb3_qflex.envs.synergies.wrapper import SynergyActions
    from sb3_qflex.envs.wrappers import AliveBonus, OverActuated, SigmoidExcitation, SparseReward

__all__ = [
    "CATALOGUE",
    "ActionRepeat",
    "AliveBonus",
    "DistanceGoals",
    "MuscleSensors",
    "OverActuated",
    "PlanarChain",
    "PlanarChainVecEnv",
    "SigmoidExcitation",
    "SparseReward",
    "SuccessAtAnyStep",
    "SynergyActions",
    "register_envs",
]

_HOME = {
    "ActionRepeat": "sb3_qflex.envs.action_repeat",
    "AliveBonus": "sb3_qflex.envs.wrappers",
    "DistanceGoals": "sb3_qflex.envs.goals",
    "MuscleSensors": "sb3_qflex.envs.muscle_sensors",
    "OverActuated": "sb3_qflex.envs.wrappers",
    "PlanarChain": "sb3_qflex.envs.planar_chain",
    # Loaded on first use only: Stable-Baselines3's VecEnv brings torch with it.
    "PlanarChainVecEnv": "sb3_qflex.envs.planar_chain_vec",
    "SigmoidExcitation": "sb3_qflex.envs.wrappers",
    "SparseReward": "sb3_qflex.envs.wrappers",
    "SuccessAtAnyStep": "sb3_qflex.envs.action_repeat",
    "SynergyActions": "sb3_qflex.envs.synergies.wrapper",
}

__getattr__, __dir__ = lazy_names(__name__, _HOME, __all__)

register_envs()

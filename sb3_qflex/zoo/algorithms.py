"""The algorithms that sb3-qflex adds to RL Zoo, in one table: what holds for one of them in the Zoo holds for all.

Classes and functions stand as ``"module:name"`` and are imported on first use, so that the table itself costs nothing.
"""

import os
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

#: RL Zoo's signature of a sampler: ``(trial, n_actions, n_envs, additional_args)``; a converter takes ``trial.params``.
Tuning = Callable[..., dict[str, Any]]
_TUNING = "sb3_qflex.zoo.tuning"
_LATTICE = "sb3_qflex.lattice.lattice"
_LATTICE_TUNING = f"{_TUNING}_lattice"
_DEP = "sb3_qflex.dep.algorithms"
_DEP_TUNING = "sb3_qflex.zoo.tuning_dep"
_ON_POLICY = "sb3_qflex.lattice.on_policy"
_PPO_TUNING = "sb3_qflex.zoo.tuning_ppo"


@dataclass(frozen=True)
class ZooAlgorithm:
    """
    What RL Zoo is told of one algorithm.

    :param algorithm_class: its class, or ``"module:name"`` of it
    :param sample_params: tuning space, or ``"module:name"`` of it
    :param convert_params: makes constructor arguments of what was drawn, or ``"module:name"`` of it
    :param hyperparameters: YAML file of its entries, or a folder with a file of its name (and one in ``small/``); None
        for the folder that comes with sb3-qflex
    :param on_policy: whether it is one of SB3's on-policy algorithms, of which each has its own loop
    """

    algorithm_class: "type[BaseAlgorithm] | str"
    sample_params: Tuning | str = f"{_TUNING}:sample_off_policy_params"
    convert_params: Tuning | str = f"{_TUNING}:convert_params"
    hyperparameters: Path | None = None
    on_policy: bool = False

    def load_class(self) -> "type[BaseAlgorithm]":
        """Its class; a TypeError if that is not of its kind."""
        kind = "on" if self.on_policy else "off"
        base = resolve(f"stable_baselines3.common.{kind}_policy_algorithm:{kind.title()}PolicyAlgorithm")
        found = resolve(self.algorithm_class)
        if not (isinstance(found, type) and issubclass(found, base)):
            raise TypeError(
                f"{self.algorithm_class!r} is no {kind}-policy algorithm: give a subclass of SB3's {base.__name__}, or "
                "'module:name' of one."
            )
        return found


#: By RL Zoo's name, as in ``--algo``.
ALGORITHMS = {
    "qflex": ZooAlgorithm("sb3_qflex.qflex.qflex:QFlex", f"{_TUNING}:sample_qflex_params"),
    "dacer": ZooAlgorithm("sb3_qflex.dacer.dacer:DACER", f"{_TUNING}_dacer:sample_dacer"),
    "dep_crossq": ZooAlgorithm(f"{_DEP}:DEPCrossQ", f"{_DEP_TUNING}:sample_crossq", f"{_DEP_TUNING}:convert_params"),
    "dep_qflex": ZooAlgorithm(f"{_DEP}:DEPQFlex", f"{_DEP_TUNING}:sample_qflex", f"{_DEP_TUNING}:convert_params"),
    "dep_sac": ZooAlgorithm(f"{_DEP}:DEPSAC", f"{_DEP_TUNING}:sample_sac", f"{_DEP_TUNING}:convert_params"),
    "dpmd": ZooAlgorithm("sb3_qflex.dpmd.dpmd:DPMD", f"{_TUNING}_sdac:sample_sdac"),
    "dynsyn_crossq": ZooAlgorithm("sb3_qflex.dynsyn.dynsyn:DynSynCrossQ", f"{_TUNING}_dynsyn:sample_crossq"),
    "dynsyn_ppo": ZooAlgorithm(
        "sb3_qflex.dynsyn.ppo:DynSynPPO",
        f"{_PPO_TUNING}:sample_dynsyn",
        f"{_PPO_TUNING}:convert_dynsyn",
        on_policy=True,
    ),
    "dynsyn_qflex": ZooAlgorithm("sb3_qflex.dynsyn.dynsyn:DynSynQFlex", f"{_TUNING}_dynsyn:sample_qflex"),
    "dynsyn_sac": ZooAlgorithm("sb3_qflex.dynsyn.dynsyn:DynSynSAC", f"{_TUNING}_dynsyn:sample_sac"),
    "flowrl": ZooAlgorithm("sb3_qflex.flowrl.flowrl:FlowRL", f"{_TUNING}_flowrl:sample_flowrl_params"),
    "lattice_crossq": ZooAlgorithm(
        f"{_LATTICE}:LatticeCrossQ", f"{_LATTICE_TUNING}:sample_crossq", f"{_LATTICE_TUNING}:convert_params"
    ),
    "lattice_ppo": ZooAlgorithm(
        f"{_ON_POLICY}:LatticePPO", f"{_PPO_TUNING}:sample_lattice", f"{_PPO_TUNING}:convert_lattice", on_policy=True
    ),
    "lattice_ppo_lstm": ZooAlgorithm(
        f"{_ON_POLICY}:LatticeRecurrentPPO",
        f"{_PPO_TUNING}:sample_lattice",
        f"{_PPO_TUNING}:convert_lattice",
        on_policy=True,
    ),
    "lattice_qflex": ZooAlgorithm(
        f"{_LATTICE}:LatticeQFlex", f"{_LATTICE_TUNING}:sample_qflex", f"{_LATTICE_TUNING}:convert_params"
    ),
    "lattice_sac": ZooAlgorithm(
        f"{_LATTICE}:LatticeSAC", f"{_LATTICE_TUNING}:sample_sac", f"{_LATTICE_TUNING}:convert_params"
    ),
    "maxinfo_crossq": ZooAlgorithm("sb3_qflex.maxinfo.maxinfo:MaxInfoCrossQ", f"{_TUNING}_maxinfo:sample_crossq"),
    "maxinfo_sac": ZooAlgorithm("sb3_qflex.maxinfo.maxinfo:MaxInfoSAC", f"{_TUNING}_maxinfo:sample_sac"),
    "qsm": ZooAlgorithm("sb3_qflex.qsm.qsm:QSM", f"{_TUNING}_qsm:sample_qsm"),
    "sdac": ZooAlgorithm("sb3_qflex.sdac.sdac:SDAC", f"{_TUNING}_sdac:sample_sdac"),
}
#: Tuning spaces for algorithms of others that RL Zoo has none for; whatever it has or gets itself comes first.
TUNING_OF_OTHERS = {"crossq": ZooAlgorithm("sb3_contrib:CrossQ", f"{_TUNING}:sample_crossq_params")}
#: What ``compare`` trains unless told otherwise.
COMPARED = ("qflex", "crossq", "sac")


def import_named() -> None:
    """Import the modules that ``SB3_QFLEX_ALGORITHMS`` names, which register algorithms."""
    for module in filter(None, os.environ.get("SB3_QFLEX_ALGORITHMS", "").split(",")):
        import_module(module.strip())


def resolve(value: Any) -> Any:
    """Something, of which ``"module:name"`` may be given."""
    return pkgutil.resolve_name(value) if isinstance(value, str) else value


def class_of(name: str) -> "type[BaseAlgorithm] | None":
    """The class that RL Zoo trains under this name if that is this table's (or a subclass); None for all others."""
    known = ALGORITHMS.get(name)
    used = import_module("rl_zoo3.exp_manager").ALGOS.get(name)
    return used if known and isinstance(used, type) and issubclass(used, known.load_class()) else None

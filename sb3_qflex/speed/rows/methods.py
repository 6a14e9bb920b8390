"""What the other methods cost: an update beside our SAC's, and acting."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch as th

from sb3_qflex.algorithm import Algorithm
from sb3_qflex.dacer.dacer import DACER
from sb3_qflex.dpmd.dpmd import DPMD
from sb3_qflex.dynsyn.dynsyn import DynSynSAC
from sb3_qflex.flowrl.flowrl import FlowRL
from sb3_qflex.lattice.lattice import LatticeSAC
from sb3_qflex.maxinfo.maxinfo import MaxInfoSAC
from sb3_qflex.qsm.qsm import QSM
from sb3_qflex.sac.sac import SAC
from sb3_qflex.sdac.sdac import SDAC
from sb3_qflex.speed import workloads
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.rows.acting import policy_function
from sb3_qflex.speed.settings import BATCH_SIZE, Settings
from sb3_qflex.speed.timing import Task, ratio

#: Updates of a turn: policies are updated at every second one.
_UPDATES = 2
#: What acting with 32 particles for 80 observations is to take at most, in ms.
_ACTING_TARGET = 60.0

_TEXT = f"""\
*update* is the mean of {_UPDATES} in `model.train({_UPDATES}, {BATCH_SIZE})`, since some methods update their policy at
every second one, sampling the replay buffer included; all networks have the layers of the size, everything else is each
method's default (`preset="official"`), but for `sampling_dtype` where it says *bfloat16*. *SAC* is `sb3_qflex.sac`,
DynSyn has groups of two actuators, and DEP's updates are those of the algorithm below it. What comes at every hundredth
update or more rarely (DACER's estimate of the entropy) is left out. *acting* is the policy function for n observations,
SDAC's, DPMD's and QSM langevin's with 32 particles."""


@dataclass(frozen=True)
class Method:
    """
    A method that is timed.

    :param algorithm: Its class.
    :param target: What its update is to take at most, in units of SAC's; None where nothing was asked for.
    :param particles: Whether it acts with the best of 32 chains.
    :param options: Arguments beside its defaults.
    :param of_policy: Arguments of its policy for a number of actuators.
    """

    algorithm: type[Algorithm]
    target: float | None = None
    particles: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    of_policy: Callable[[int], dict[str, Any]] = lambda action_dim: {}


def _pairs(action_dim: int) -> dict[str, Any]:
    return {"groups": [list(range(i, min(i + 2, action_dim))) for i in range(0, action_dim, 2)]}


_ROUNDED = {"sampling_dtype": "bfloat16"}
METHODS = {
    "SAC": Method(SAC),
    "DynSynSAC": Method(DynSynSAC, of_policy=_pairs),
    "LatticeSAC": Method(LatticeSAC),
    "MaxInfoSAC": Method(MaxInfoSAC, 3.5),
    "FlowRL": Method(FlowRL, 2.5),
    "DACER": Method(DACER, 4.0),
    "QSM ddpm": Method(QSM, 1.5, options={"variant": "ddpm"}),
    "QSM langevin": Method(QSM, 18.0, particles=True, options={"variant": "langevin"}),
    "QSM langevin, bfloat16": Method(QSM, 18.0, particles=True, options={"variant": "langevin", **_ROUNDED}),
    "DPMD": Method(DPMD, 18.0, particles=True),
    "DPMD, bfloat16": Method(DPMD, 18.0, particles=True, options=_ROUNDED),
    "SDAC": Method(SDAC, 25.0, particles=True),
    "SDAC, bfloat16": Method(SDAC, 25.0, particles=True, options=_ROUNDED),
}


def measure_methods(settings: Settings) -> Section:
    """:param settings: Sizes and durations."""
    section = Section("methods", "The other methods", _TEXT)
    problem, n_envs = settings.methods_size, max(settings.acting_n_envs)
    buffer = workloads.filled_buffer(problem)
    models = {
        name: workloads.made(
            method.algorithm,
            problem,
            buffer,
            policy_kwargs=method.of_policy(problem.action_dim),
            **method.options,
        )
        for name, method in METHODS.items()
    }
    updates = settings.time([Task(name, partial(model.train, _UPDATES, BATCH_SIZE)) for name, model in models.items()])
    obs = th.randn(n_envs, problem.obs_dim)
    acting = settings.time([Task(name, policy_function(model.policy, obs)) for name, model in models.items()])
    for name, method in METHODS.items():
        case = f"{workloads.label(problem)}, {name}"
        section.add(case, "update", 1e3 / _UPDATES * updates[name], "ms")
        section.add(case, "update / SAC", ratio(updates, name, "SAC"))
        if method.target is not None:
            section.add(case, "target", method.target)
        section.add(case, f"acting, n = {n_envs}", 1e3 * acting[name], "ms")
        if method.particles:
            section.add(case, "target of acting", _ACTING_TARGET, "ms")
    return section

"""What Lattice's noise costs: an update beside SAC's, samples and log-probabilities beside a diagonal Gaussian's."""

import math
from collections.abc import Callable
from functools import partial

import torch as th

from sb3_qflex.common.networks import SquashedGaussian
from sb3_qflex.lattice.distributions import (
    LatticeDistribution,
    LatticeStateDependentDistribution,
    SquashedLatticeDistribution,
)
from sb3_qflex.lattice.gaussian import LatticeGaussian
from sb3_qflex.lattice.lattice import LatticeSAC
from sb3_qflex.sac.sac import SAC
from sb3_qflex.speed import workloads
from sb3_qflex.speed.flops import Problem
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.settings import BATCH_SIZE, Settings
from sb3_qflex.speed.timing import Task, interleave, ratio

#: From this |A| on no update is timed, since the definition takes many seconds; beyond it rows are few, for the memory.
_MOST_ACTUATORS, _FEW_ROWS = 354, 32

_TEXT = f"""\
First one update, `model.train(1, {BATCH_SIZE})`: *SAC* is `sb3_qflex.sac`, *LatticeSAC* the plain form of the noise,
*by definition* the same with torch's densities and automatic differentiation in place of the closed form.

Then what an update or a step adds to the networks, with d = |A| and n the width of the last hidden layer. A
log-probability is that of a sample, with its backward pass; an update has one with it and one without. *diagonal* is
SAC's Gaussian. *held* and *new matrices* are the state-dependent form's, for as many environments as there are rows."""


def measure_lattice(settings: Settings) -> Section:
    """:param settings: Sizes and durations."""
    section = Section("lattice", "Lattice", _TEXT)
    for problem in settings.sizes:
        if problem.action_dim < _MOST_ACTUATORS:
            _measure_update(section, problem, settings)
    for problem in settings.sizes:
        _measure_noise(section, problem, settings)
    return section


def _measure_update(section: Section, problem: Problem, settings: Settings) -> None:
    buffer = workloads.filled_buffer(problem)
    sac, lattice = (workloads.made(algorithm, problem, buffer) for algorithm in (SAC, LatticeSAC))
    update = partial(lattice.train, 1, BATCH_SIZE)
    tasks = [
        Task("SAC", partial(sac.train, 1, BATCH_SIZE)),
        Task("LatticeSAC", update),
        Task("by definition", partial(_by_definition, update)),
    ]
    seconds = interleave(tasks, settings.schedule)
    case = workloads.label(problem)
    for name in seconds:
        section.add(case, name, 1e3 * seconds[name], "ms")
    for name in ("LatticeSAC", "by definition"):
        section.add(case, f"{name} / SAC", ratio(seconds, name, "SAC"))


def _by_definition(function: Callable[[], object]) -> None:
    fast = LatticeGaussian.log_prob
    LatticeGaussian.log_prob = LatticeGaussian.readable_log_prob  # type: ignore[method-assign]
    try:
        function()
    finally:
        LatticeGaussian.log_prob = fast  # type: ignore[method-assign]


def _measure_noise(section: Section, problem: Problem, settings: Settings) -> None:
    d, n = problem.action_dim, problem.hidden[-1]
    rows = BATCH_SIZE if d <= _MOST_ACTUATORS else _FEW_ROWS
    tasks = [Task(name, function) for name, function in noise_workloads(d, n, rows).items()]
    seconds = interleave(tasks, settings.schedule)
    for name in seconds:
        section.add(f"d = {d}, n = {n}, {rows} rows", name, 1e3 * seconds[name], "ms")


def noise_workloads(d: int, n: int, rows: int) -> dict[str, Callable[[], object]]:
    """
    :param d: Actuators.
    :param n: Width of the last hidden layer.
    :param rows: B.
    :return: What is timed, by the columns' names.
    """
    weight = (th.randn(d, n) / math.sqrt(n)).requires_grad_()
    mean, latent = th.zeros(rows, d), th.randn(rows, n).relu()
    log_std, parameter = (th.full(shape, -1.0, requires_grad=True) for shape in ((rows, d + n), (d + n,)))
    matrix = th.zeros(n, n + d, requires_grad=True)
    plain, gaussian, ppo = SquashedLatticeDistribution(d), SquashedGaussian(d), LatticeDistribution(d)
    state = LatticeStateDependentDistribution(d, squash_output=True, learn_features=True)

    @th.no_grad()
    def held() -> None:
        with state.exploring():
            state.actions_from_params(mean, matrix, latent, weight)

    def new_matrices() -> None:
        state.sample_weights()
        held()

    def backward(log_prob: th.Tensor) -> None:
        log_prob.sum().backward()

    return {
        "diagonal sample": th.no_grad()(lambda: gaussian.actions_from_params(mean, log_std[:, :d])),
        "sample": th.no_grad()(lambda: plain.actions_from_params(mean, log_std, weight)),
        "held sample": held,
        "new matrices": new_matrices,
        "diagonal log-prob": lambda: backward(gaussian.log_prob_from_params(mean, log_std[:, :d])[1]),
        "log-prob": lambda: backward(plain.log_prob_from_params(mean, log_std, weight)[1]),
        "state-dep. log-prob": lambda: backward(state.log_prob_from_params(mean, matrix, latent, weight)[1]),
        "PPO log-prob": lambda: backward(ppo.proba_distribution(mean, parameter, weight).log_prob(mean)),
    }

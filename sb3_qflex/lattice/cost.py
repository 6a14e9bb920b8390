"""
What Lattice's noise costs on this machine: ``python -m sb3_qflex.lattice.cost``.

Medians of processor time for B rows, of what an update or a step adds to the networks. A diagonal Gaussian is what SAC
has. A log-probability is that of a sample, with its backward pass.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch as th

from sb3_qflex.common.networks import SquashedGaussian
from sb3_qflex.lattice.distributions import (
    LatticeDistribution,
    LatticeStateDependentDistribution,
    SquashedLatticeDistribution,
)

ACTUATORS = (39, 80, 216, 700)
LATENTS = (256, 1024)
COLUMNS = ("d", "n", "sample", "held sample", "new matrices", "SAC log-prob", "state-dep. log-prob", "PPO log-prob")
_MOST_REPETITIONS, _SECONDS = 100, 1.0


def milliseconds(function: Callable[[], object]) -> float:
    """
    Median of processor time, after a first call.

    :param function: What to time
    """
    function()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < _SECONDS and len(times) < _MOST_REPETITIONS):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times)


def workloads(d: int, n: int, rows: int) -> dict[str, Callable[[], object]]:
    """
    :param d: Actuators
    :param n: Width of the last hidden layer
    :param rows: B
    :return: By the columns' names, what they time; and the diagonal Gaussian's under "diagonal ..."
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
        "diagonal log-prob": lambda: backward(gaussian.log_prob_from_params(mean, log_std[:, :d])[1]),
        "sample": th.no_grad()(lambda: plain.actions_from_params(mean, log_std, weight)),
        "held sample": held,
        "new matrices": new_matrices,
        "SAC log-prob": lambda: backward(plain.log_prob_from_params(mean, log_std, weight)[1]),
        "state-dep. log-prob": lambda: backward(state.log_prob_from_params(mean, matrix, latent, weight)[1]),
        "PPO log-prob": lambda: backward(ppo.proba_distribution(mean, parameter, weight).log_prob(mean)),
    }


def table(actuators: Sequence[int], latents: Sequence[int], rows: int) -> Iterator[str]:
    """
    The lines of a Markdown table.

    :param actuators: Values of d
    :param latents: Values of n
    :param rows: B
    """
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|" + "---|" * len(COLUMNS)
    for d in actuators:
        for n in latents:
            times = {name: milliseconds(one) for name, one in workloads(d, n, rows).items()}
            ratios = {
                name: f" ({times[name] / times['diagonal ' + name.rpartition(' ')[2]]:.0f} x)" for name in COLUMNS[2:4]
            }
            ratios |= {name: f" ({times[name] / times['diagonal log-prob']:.0f} x)" for name in COLUMNS[5:]}
            cells = [f"{times[name]:.3g}{ratios.get(name, '')}" for name in COLUMNS[2:]]
            yield f"| {d} | {n} | {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Print the table, in milliseconds and multiples of a diagonal Gaussian.

    :param arguments: Of the command line
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_qflex.lattice.cost", description="What Lattice costs here.")
    parser.add_argument("--rows", type=int, default=32, help="rows of a batch")
    parser.add_argument("--actuators", type=int, nargs="+", default=ACTUATORS)
    parser.add_argument("--latents", type=int, nargs="+", default=LATENTS)
    given = parser.parse_args(arguments)
    for line in table(given.actuators, given.latents, given.rows):
        print(line, flush=True)


if __name__ == "__main__":
    main()

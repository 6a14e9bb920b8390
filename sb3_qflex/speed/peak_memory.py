"""``python -m sb3_qflex.speed.peak_memory NAME THREADS SIZES...``: the memory that one algorithm takes.

Run in a process of its own, since a process cannot tell its earlier peaks from those of the work at hand.
"""

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sb3_qflex.speed import workloads
from sb3_qflex.speed.flops import Problem
from sb3_qflex.speed.settings import BATCH_SIZE

ALGORITHMS: dict[str, Callable[..., OffPolicyAlgorithm]] = {
    "QFlex": workloads.qflex,
    "CrossQ": workloads.crossq,
    "SAC": workloads.sac,
}
_MODULE = "sb3_qflex.speed.peak_memory"
#: Small, so that its own making does not set the peak.
_TRANSITIONS = 1024
_N_ENVS = 80
_TIMEOUT = 600.0


def measure_in_process(name: str, problem: Problem, threads: int) -> int:
    """
    Bytes that an algorithm takes at its peak: model, updates and actions, without replay buffer and libraries.

    :param name: Of the algorithm.
    :param problem: Sizes.
    :param threads: Threads of torch.
    :raises RuntimeError: If the process fails, with what it printed.
    """
    sizes = [problem.obs_dim, problem.action_dim, *problem.hidden]
    command = [sys.executable, "-m", _MODULE, name, *map(str, (threads, *sizes))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return int(done.stdout.split()[-1])


def _resident_and_peak() -> tuple[int, int]:
    """Bytes. Elsewhere than on Linux the peak so far stands for both."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: there a process starts with the peak of its parent, which may be the larger one.
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(fields["VmRSS"].split()[0]), 1024 * int(fields["VmHWM"].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak, peak


def _use(name: str, problem: Problem) -> int:
    buffer = workloads.filled_buffer(problem, _TRANSITIONS)
    before, _ = _resident_and_peak()
    model = ALGORITHMS[name](problem, buffer)
    model.train(1, BATCH_SIZE)
    model.predict(np.zeros((_N_ENVS, problem.obs_dim), np.float32))
    return _resident_and_peak()[1] - before


def _main() -> None:
    parser = argparse.ArgumentParser(f"python -m {_MODULE}", description="Print the bytes that one algorithm takes.")
    parser.add_argument("name", choices=ALGORITHMS)
    parser.add_argument("threads", type=int)
    parser.add_argument("sizes", type=int, nargs="+", help="observation, action and hidden layers")
    arguments = parser.parse_args()
    th.set_num_threads(arguments.threads)
    obs_dim, action_dim, *hidden = arguments.sizes
    print(_use(arguments.name, Problem(obs_dim, action_dim, tuple(hidden))))


if __name__ == "__main__":
    _main()

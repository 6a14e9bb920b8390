"""Peak memory of a process that updates and acts."""

import multiprocessing as mp
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch as th

from sb3_qflex.speed import workloads
from sb3_qflex.speed.flops import Problem
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.settings import BATCH_SIZE, Settings

_TEXT = f"""\
Peak resident memory of a process of its own that makes the model, updates it on batches of {BATCH_SIZE} and predicts
for 80 environments, above what it held before (interpreter, libraries, a small replay buffer). *buffer of 10^6* is
computed: what SB3's ReplayBuffer of a million transitions takes besides."""

#: Small, so that its own making does not set the peak.
_TRANSITIONS = 1024
_N_ENVS = 80


def measure_memory(settings: Settings) -> Section:
    """:param settings: Sizes and durations."""
    section = Section("memory", "Peak memory", _TEXT)
    for problem in settings.sizes:
        case = workloads.label(problem)
        for name in workloads.ALGORITHMS:
            section.add(case, name, measure_in_process(name, problem, settings.threads) / 2**20, "MiB")
        section.add(case, "buffer of 10^6", buffer_bytes(problem, 1_000_000) / 2**30, "GiB")
    return section


def buffer_bytes(problem: Problem, transitions: int) -> int:
    """Memory of SB3's ReplayBuffer: both observations, action, reward and two flags, each as float32."""
    return 4 * transitions * (2 * problem.obs_dim + problem.action_dim + 3)


def measure_in_process(name: str, problem: Problem, threads: int) -> int:
    """
    Bytes that an algorithm takes at its peak: model, updates and actions, without replay buffer and libraries. In a
    process of its own, since one cannot tell its earlier peaks from those of the work at hand.

    :param name: Of the algorithm.
    :param problem: Sizes.
    :param threads: Threads of torch.
    :raises RuntimeError: If the process ends early.
    """
    with ProcessPoolExecutor(1, mp.get_context("spawn")) as pool:
        return pool.submit(_use, name, problem, threads).result()


def _use(name: str, problem: Problem, threads: int) -> int:
    th.set_num_threads(threads)
    buffer = workloads.filled_buffer(problem, _TRANSITIONS)
    before, _ = _resident_and_peak()
    model = workloads.ALGORITHMS[name](problem, buffer)
    model.train(1, BATCH_SIZE)
    model.predict(np.zeros((_N_ENVS, problem.obs_dim), np.float32))
    return _resident_and_peak()[1] - before


def _resident_and_peak() -> tuple[int, int]:
    """Bytes. Elsewhere than on Linux the peak so far stands for both."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: there a process starts with the peak of its parent, which may be the larger one.
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(fields["VmRSS"].split()[0]), 1024 * int(fields["VmHWM"].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak, peak

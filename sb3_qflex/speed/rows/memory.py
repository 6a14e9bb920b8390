"""Peak memory of a process that updates and acts."""

from sb3_qflex.speed import workloads
from sb3_qflex.speed.flops import Problem
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.peak_memory import ALGORITHMS, measure_in_process
from sb3_qflex.speed.settings import BATCH_SIZE, Settings

_TEXT = f"""\
Peak resident memory of a process of its own that makes the model, updates it on batches of {BATCH_SIZE} and predicts
for 80 environments, above what it held before (interpreter, libraries, a small replay buffer). *buffer of 10^6* is
computed: what SB3's ReplayBuffer of a million transitions takes besides."""


def measure_memory(settings: Settings) -> Section:
    """
    :param settings: Sizes and durations.
    """
    section = Section("memory", "Peak memory", _TEXT)
    for problem in settings.sizes:
        case = workloads.label(problem)
        for name in ALGORITHMS:
            section.add(case, name, measure_in_process(name, problem, settings.threads) / 2**20, "MiB")
        section.add(case, "buffer of 10^6", buffer_bytes(problem, 1_000_000) / 2**30, "GiB")
    return section


def buffer_bytes(problem: Problem, transitions: int) -> int:
    """
    Memory of SB3's ReplayBuffer: both observations, action, reward and two flags, each as float32.

    :param problem: Sizes.
    :param transitions: Number of transitions.
    """
    return 4 * transitions * (2 * problem.obs_dim + problem.action_dim + 3)

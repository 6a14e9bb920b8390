"""What a replay buffer takes, and what this process may still take."""

from pathlib import Path

import numpy as np
import psutil
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.preprocessing import get_action_dim, get_obs_shape
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

#: Two int64 of the episode, a reference and an empty info dict of CPython 3.11, for each transition of HER.
_HER_BYTES = 2 * 8 + 8 + 64
#: Files of a cgroup: limit, usage, and the name of the reclaimable part of the usage in memory.stat.
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def check_buffer_memory(
    buffer_class: type[ReplayBuffer],
    buffer_size: int,
    n_envs: int,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    optimize_memory_usage: bool = False,
    available: int | None = None,
) -> None:
    """
    Refuse a replay buffer that will not fit once it is full. The system itself would give the memory out at first, and
    kill the process days later.

    :param buffer_class: Its class
    :param buffer_size: Transitions over all environments
    :param n_envs: Number of environments
    :param observation_space: Box, Discrete, MultiDiscrete, MultiBinary or a Dict of them
    :param action_space: A Box
    :param optimize_memory_usage: Whether each observation is stored once
    :param available: Bytes, by default :func:`available_memory`
    :raises MemoryError: With what is needed, what is available, and the ``buffer_size`` that would fit
    """
    each = transition_bytes(buffer_class, observation_space, action_space, optimize_memory_usage)
    needed = max(buffer_size // n_envs, 1) * n_envs * each
    if available is None:
        available = available_memory()
    if needed > available:
        fits = max(available // each // n_envs, 0) * n_envs
        raise MemoryError(
            f"The replay buffer of {buffer_size:,} transitions needs {_gigabytes(needed)} when full "
            f"({each:,} bytes each, {buffer_class.__name__}), and {_gigabytes(available)} are available to this "
            f"process. buffer_size={fits:_} would fit"
            + ("" if optimize_memory_usage else "; optimize_memory_usage=True stores each Box observation once")
            + "."
        )


def transition_bytes(
    buffer_class: type[ReplayBuffer],
    observation_space: spaces.Space,
    action_space: spaces.Space,
    optimize_memory_usage: bool = False,
) -> int:
    """Bytes of one transition, without the infos that a ``HerReplayBuffer`` with ``copy_info_dict`` keeps."""
    parts = observation_space.spaces.values() if isinstance(observation_space, spaces.Dict) else [observation_space]
    observation = 0
    for part in parts:
        observation += int(np.prod(get_obs_shape(part))) * _item_bytes(part)  # type: ignore[arg-type]
    # SB3 stores float64 actions as float32; reward, done and timeout are float32.
    action = get_action_dim(action_space) * min(_item_bytes(action_space), 4)
    total = observation * (1 if optimize_memory_usage else 2) + action + 3 * 4
    return total + (_HER_BYTES if issubclass(buffer_class, HerReplayBuffer) else 0)


def available_memory(cgroups: Path = Path("/sys/fs/cgroup"), process: Path = Path("/proc/self/cgroup")) -> int:
    """
    :param cgroups: Where the limits of containers, batch systems and services are found
    :param process: File that tells in which of them this process is
    :return: Bytes that this process can still take: what the machine has, or what a limit leaves
    """
    return min([psutil.virtual_memory().available, *_left_by_limits(cgroups, process)])


def _left_by_limits(cgroups: Path, process: Path) -> list[int]:
    try:
        lines = process.read_text().splitlines()
    except OSError:
        return []
    left = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and "memory" not in controllers.split(","):
            continue
        root, names = (cgroups / "memory", _VERSION_1) if controllers else (cgroups, _VERSION_2)
        folder = root / path.lstrip("/")
        # A limit of any parent holds as well; inside a container its own group may be mounted as the root.
        for group in [folder, *folder.parents]:
            if group.is_relative_to(root):
                left.append(_left(group, *names))
    return [bytes_left for bytes_left in left if bytes_left is not None]


def _left(group: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    try:
        # The word "max" of no limit is not a number; version 1 writes a huge one.
        free = int((group / limit).read_text()) - int((group / usage).read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(free + int(statistics.get(reclaimable, 0)), 0)
    except (OSError, ValueError):
        return None


def _item_bytes(space: spaces.Space) -> int:
    return np.dtype(space.dtype).itemsize


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB"

"""
A replay buffer as rows on disk.

A row is what one vector step stored: one transition of every environment. Rows are counted from the first that the
training stored; SB3's ring of B rows holds row r at index r mod B. Most arrays of a row never change again, so that a
checkpoint appends the new rows only; ``dones``, ``timeouts``, HER's bookkeeping and arrays of a subclass do, and are
written whole.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

# Rows of a segment are in memory twice while they are loaded.
_SEGMENT_BYTES = 256 * 2**20

Arrays = dict[str, np.ndarray]


def lasting_arrays(buffer: ReplayBuffer) -> Arrays:
    """By name, the buffer's arrays (B, environments, ...) whose rows never change once stored."""
    arrays: Arrays = {"actions": buffer.actions, "rewards": buffer.rewards}
    for name in ("observations", "next_observations"):
        value: Any = getattr(buffer, name, None)  # no next_observations with optimize_memory_usage
        if isinstance(value, dict):
            arrays |= {f"{name}/{key}": array for key, array in value.items()}
        elif value is not None:
            arrays[name] = value
    if isinstance(buffer, HerReplayBuffer) and buffer.copy_info_dict:
        arrays["infos"] = buffer.infos
    return arrays


def changing_arrays(buffer: ReplayBuffer) -> Arrays:
    """
    By name, the buffer's other arrays (B, environments, ...), whose rows may change later: SB3's, and those that a
    class of the user's has beside them.
    """
    shape, lasting = (buffer.buffer_size, buffer.n_envs), lasting_arrays(buffer)
    return {
        name: array
        for name, array in vars(buffer).items()
        if isinstance(array, np.ndarray) and array.shape[:2] == shape and array.dtype != object and name not in lasting
    }


def pieces(buffer: ReplayBuffer, first: int, stop: int) -> Iterator[tuple[int, int]]:
    """Divide rows from first to before stop, at most B, into ranges in one piece of the ring and not too large."""
    row_bytes = sum(array[:1].nbytes for array in lasting_arrays(buffer).values())
    limit = max(1, _SEGMENT_BYTES // row_bytes)
    while first < stop:
        end = min(stop, first + limit, first + buffer.buffer_size - first % buffer.buffer_size)
        yield first, end
        first = end


def write_rows(path: Path, buffer: ReplayBuffer, first: int, stop: int) -> None:
    """Write the rows from first to before stop, which lie in one piece."""
    start = first % buffer.buffer_size
    here = slice(start, start + stop - first)
    with path.open("wb") as file:
        np.savez(file, **{name: array[here] for name, array in lasting_arrays(buffer).items()})  # type: ignore[arg-type]


def read_rows(path: Path, buffer: ReplayBuffer, first: int, oldest: int) -> None:
    """Read a segment that begins with row first to its places in the ring, without rows before the oldest wanted."""
    with np.load(path, allow_pickle=isinstance(buffer, HerReplayBuffer)) as segment:
        for name, array in lasting_arrays(buffer).items():
            rows = segment[name][max(oldest - first, 0) :]
            start = max(oldest, first) % buffer.buffer_size
            array[start : start + len(rows)] = rows


def write_index(path: Path, buffer: ReplayBuffer) -> None:
    """Write what is not in segments: positions, and the arrays that may change."""
    index = {name: array[: buffer.size()] for name, array in changing_arrays(buffer).items()}
    index |= {"pos": np.array(buffer.pos), "full": np.array(buffer.full)}
    if buffer.optimize_memory_usage:
        # Holds the next observation of the last transition.
        index["observations_at_pos"] = buffer.observations[buffer.pos]
    if isinstance(buffer, HerReplayBuffer):
        index["current_ep_start"] = buffer._current_ep_start
    with path.open("wb") as file:
        np.savez(file, **index)  # type: ignore[arg-type]


def read_index(path: Path, buffer: ReplayBuffer) -> None:
    """Read what :func:`write_index` wrote into a buffer of the same shape, whose rows are already read."""
    with np.load(path) as index:
        buffer.pos, buffer.full = int(index["pos"]), bool(index["full"])
        for name in changing_arrays(buffer).keys() & index.keys():
            vars(buffer)[name][: buffer.size()] = index[name]
        if buffer.optimize_memory_usage:
            buffer.observations[buffer.pos] = index["observations_at_pos"]
        if isinstance(buffer, HerReplayBuffer):
            buffer._current_ep_start = index["current_ep_start"]

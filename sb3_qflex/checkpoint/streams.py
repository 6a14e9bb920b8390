"""
Replay data as streams: what happened in one environment, in order.

Where a stream is cut, because its environment starts anew or because it is laid elsewhere, its last transition is
marked as truncated: n-step returns and HER's goals do not reach across the cut, and the target still bootstraps.
"""

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_qflex.checkpoint.rows import changing_arrays, lasting_arrays
from sb3_qflex.common.replay import cut_streams, truncate


def relay(source: ReplayBuffer, target: ReplayBuffer) -> int:
    """
    Lay the transitions of one buffer into another one with another number of environments.

    The streams, each in its order, are laid end to end and divided into as many equal parts as the target has
    environments. The oldest transitions go first where the parts do not come out even or the target is smaller.

    :param source: Filled by n environments; its streams are cut.
    :param target: Empty, of other environments of the same task.
    :return: Number of transitions that were left out.
    """
    cut_streams(source)
    n_source, n_target, size = source.n_envs, target.n_envs, source.size()
    length = min(size * n_source // n_target, target.buffer_size)
    dropped = size * n_source - length * n_target
    from_arrays = lasting_arrays(source) | _flags(source)
    to_arrays = lasting_arrays(target) | _flags(target)
    for env in range(n_target):
        # Positions within the streams laid end to end: the last ones of this part.
        end = (env + 1) * (size * n_source) // n_target
        streams, steps = np.divmod(np.arange(end - length, end), max(size, 1))
        rows = (steps + (source.pos if source.full else 0)) % source.buffer_size
        for name, array in to_arrays.items():
            array[:length, env] = from_arrays[name][rows, streams]
    target.full = length == target.buffer_size
    target.pos = length % target.buffer_size
    if length > 0:
        truncate(target, length - 1)
        if isinstance(target, HerReplayBuffer):
            _find_episodes(target, length)
    return dropped


def _flags(buffer: ReplayBuffer) -> dict[str, np.ndarray]:
    return {name: array for name, array in changing_arrays(buffer).items() if not name.startswith("ep_")}


def _find_episodes(buffer: HerReplayBuffer, length: int) -> None:
    """Set the bookkeeping of episodes from ``dones``, of which the last row has nothing but ones."""
    for env in range(buffer.n_envs):
        stops = np.flatnonzero(buffer.dones[:length, env]) + 1
        lengths = np.diff(stops, prepend=0)
        buffer.ep_start[:length, env] = np.repeat(stops - lengths, lengths)
        buffer.ep_length[:length, env] = np.repeat(lengths, lengths)
    buffer._current_ep_start[:] = buffer.pos

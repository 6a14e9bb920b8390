"""The size of a replay buffer is known before it is allocated, and what does not fit is refused."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from gymnasium import spaces
from helpers.small_models import BoxEnv, ReachEnv, small_model
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex.common.memory import available_memory, check_buffer_memory, transition_bytes

BOX = spaces.Box(-1.0, 1.0, (7, 3), np.float64)
ACTION = spaces.Box(-1.0, 1.0, (5,), np.float64)
DICT = spaces.Dict({"a": BOX, "b": spaces.Discrete(4), "c": spaces.MultiBinary(3), "d": spaces.MultiDiscrete([2, 2])})


def array_bytes(buffer: ReplayBuffer) -> int:
    arrays = list(vars(buffer).values())
    arrays += [part for value in arrays if isinstance(value, dict) for part in value.values()]
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


@pytest.mark.parametrize(
    ("buffer_class", "space", "kwargs"),
    [
        (ReplayBuffer, BOX, {}),
        (ReplayBuffer, spaces.Box(0, 9, (4,), np.int8), {}),
        (ReplayBuffer, BOX, {"optimize_memory_usage": True, "handle_timeout_termination": False}),
        (NStepReplayBuffer, BOX, {"n_steps": 3}),
        (DictReplayBuffer, DICT, {}),
    ],
    ids=["box", "small integers", "optimized", "n-step", "dict"],
)
def test_bytes_are_those_of_the_arrays(buffer_class: Any, space: spaces.Space, kwargs: dict[str, Any]) -> None:
    buffer = buffer_class(60, space, ACTION, n_envs=3, **kwargs)
    expected = transition_bytes(buffer_class, space, ACTION, kwargs.get("optimize_memory_usage", False))
    assert array_bytes(buffer) == 60 * expected


def test_bytes_of_her() -> None:
    env = make_vec_env(ReachEnv, 2)
    buffer = HerReplayBuffer(60, env.observation_space, env.action_space, env, n_envs=2)
    infos = sum(map(sys.getsizeof, buffer.infos.flat))
    expected = transition_bytes(HerReplayBuffer, env.observation_space, env.action_space)
    # The few numbers of the episodes under way, and what the interpreter's dicts take in another version.
    assert array_bytes(buffer) + infos == pytest.approx(60 * expected, rel=0.1)


def test_refused_with_the_figures() -> None:
    each = transition_bytes(ReplayBuffer, BOX, ACTION)
    check_buffer_memory(ReplayBuffer, 1000, 4, BOX, ACTION, available=1000 * each)
    with pytest.raises(
        MemoryError, match=rf"1,000 transitions needs .* \({each:,} bytes each.*buffer_size=996 would"
    ) as error:
        check_buffer_memory(ReplayBuffer, 1000, 4, BOX, ACTION, available=1000 * each - 1)
    assert "optimize_memory_usage" in str(error.value)
    check_buffer_memory(ReplayBuffer, 996, 4, BOX, ACTION, available=1000 * each - 1)
    # SB3 gives every environment at least one row.
    with pytest.raises(MemoryError, match="buffer_size=0 would fit"):
        check_buffer_memory(ReplayBuffer, 1, 80, BOX, ACTION, available=79 * each)


def test_learn_refuses_before_anything_is_allocated() -> None:
    model = small_model(BoxEnv(), buffer_size=10**13)
    with pytest.raises(MemoryError, match=r"10,000,000,000,000 transitions needs .* GB when full .* would fit"):
        model.learn(10)
    assert model._replay_buffer is None and model.num_timesteps == 0


def test_limits_of_containers(tmp_path: Path) -> None:
    machine = psutil.virtual_memory().available
    process = tmp_path / "cgroup"

    def group(folder: Path, names: tuple[str, str, str], limit: str, usage: int, reclaimable: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / names[0]).write_text(f"{limit}\n")
        (folder / names[1]).write_text(f"{usage}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {reclaimable}\n")

    second = ("memory.max", "memory.current", "inactive_file")
    first = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    assert available_memory(tmp_path, process) > 0.5 * machine
    process.write_text("0::/slice/job\n")
    group(tmp_path / "slice" / "job", second, "max", 900, 0)
    assert available_memory(tmp_path, process) > 0.5 * machine
    # The limit of a parent holds.
    group(tmp_path / "slice", second, "1000", 900, 50)
    assert available_memory(tmp_path, process) == 150
    # In a container its own group is the root.
    process.write_text("0::/\n")
    group(tmp_path, second, "2000", 900, 0)
    assert available_memory(tmp_path, process) == 1100
    process.write_text("5:cpu,cpuacct:/x\n4:memory:/job\n")
    group(tmp_path / "memory" / "job", first, "700", 900, 100)
    assert available_memory(tmp_path, process) == 0
    group(tmp_path / "memory" / "job", first, "700", 300, 100)
    assert available_memory(tmp_path, process) == 500

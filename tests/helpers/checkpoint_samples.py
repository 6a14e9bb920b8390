"""Trainings for the tests of checkpoints: broken off and resumed, or not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_qflex.checkpoint.rows import changing_arrays, lasting_arrays

MakeEnv = Callable[[], VecEnv]


class BreakOff(BaseCallback):
    """Ends training as a crash would: without a word to other callbacks."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.at:
            raise ConnectionAbortedError
        return True


def everything(model: Any) -> dict[str, Any]:
    """Whatever makes a model go on as it does."""
    buffer = model.replay_buffer
    assert buffer is not None
    replay = {**lasting_arrays(buffer), **changing_arrays(buffer)}
    replay.pop("infos", None)  # holds wall-clock times
    return {
        "parameters": model.get_parameters(),
        "replay": replay,
        "place": (buffer.pos, buffer.full, model.num_timesteps, model._n_updates, model._episode_num),
        "returns": [(one["r"], one["l"]) for one in model.ep_info_buffer],
        "last": model._last_obs,
        **model.training_state(),
        "numpy": np.random.get_state()[1],
        "torch": th.get_rng_state(),
    }


def assert_equal(first: Any, second: Any, where: str = "") -> None:
    """Bit for bit."""
    assert type(first) is type(second), where
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for index, (one, other) in enumerate(zip(first, second, strict=True)):
            assert_equal(one, other, f"{where}/{index}")
    elif isinstance(first, th.Tensor):
        assert th.equal(first, second), where
    elif isinstance(first, np.ndarray):
        np.testing.assert_array_equal(first, second, where)
    else:
        assert first == second, where

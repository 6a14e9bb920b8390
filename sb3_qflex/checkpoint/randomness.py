"""The states of all generators that training draws from."""

import random
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces


def get_random_states(action_space: spaces.Space) -> dict[str, Any]:
    """States of torch (CPU and, if in use, CUDA), NumPy's and Python's global generators and the action space."""
    return {
        "torch": th.get_rng_state(),
        "cuda": th.cuda.get_rng_state_all() if th.cuda.is_available() and th.cuda.is_initialized() else [],
        "numpy": np.random.get_state(),
        "python": random.getstate(),
        "action_space": action_space.np_random.bit_generator.state,
    }


def set_random_states(action_space: spaces.Space, states: dict[str, Any]) -> None:
    """Give generators the states that :func:`get_random_states` found."""
    th.set_rng_state(states["torch"].cpu())
    if states["cuda"] and len(states["cuda"]) == th.cuda.device_count():
        th.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])
    action_space.np_random.bit_generator.state = states["action_space"]

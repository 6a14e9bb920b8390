"""Steps of the task that the steps of a model stand for: more, while each of its actions is held for several."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sb3_qflex.zoo.listed import REPEAT, last_part, listed

_UNTIL = "RepeatUntil"


def repeat_of(env_wrapper: Any) -> int:
    """
    :param env_wrapper: of hyperparameters
    :return: steps of the task for which an action is held
    """
    return next((options.get("repeat", 1) for name, options in listed(env_wrapper) if last_part(name) == REPEAT), 1)


def until_of(callback: Any) -> dict[str, float] | None:
    """
    :param callback: of hyperparameters
    :return: arguments of :class:`sb3_qflex.RepeatUntil`, None without it
    """
    return next((options for name, options in listed(callback) if last_part(name) == _UNTIL), None)


def task_steps(steps: np.ndarray, repeat: int, ended_at: float | None, still_held: float = 0.0) -> np.ndarray:
    """
    :param steps: of the model
    :param repeat: see :func:`repeat_of`
    :param ended_at: step of the model from which on not all actions were held, None if they always were
    :param still_held: probability with which one was held then
    :return: steps of the task, where chance decides their expectation
    """
    all_held = steps if ended_at is None else np.minimum(steps, ended_at)
    return steps + (all_held + still_held * (steps - all_held)) * (repeat - 1)


def task_steps_of_run(folder: Path, steps: np.ndarray) -> np.ndarray:
    """
    As RL Zoo's ``enjoy``, this reads YAML files that can execute code.

    :param folder: run folder of RL Zoo; steps stay as they are without the files of its settings
    :param steps: of its model
    :return: steps of its task
    """
    files = list(folder.glob("*/config.yml"))
    if len(files) != 1:
        return steps
    config, arguments = (read_settings(files[0].with_name(name)) for name in ("config.yml", "args.yml"))
    repeat, until = repeat_of(config.get("env_wrapper")), until_of(config.get("callback"))
    if repeat == 1 or until is None:
        return task_steps(steps, repeat, None)
    n_timesteps = arguments.get("n_timesteps", -1)
    end = until["fraction"] * float(n_timesteps if n_timesteps > 0 else config["n_timesteps"])
    train_freq = config.get("train_freq", 1)
    # RepeatUntil acts between two rollouts.
    rollout = config.get("n_envs", 1) * (train_freq if isinstance(train_freq, int) else 1)
    return task_steps(steps, repeat, float(np.ceil(end / rollout) * rollout), until.get("still_held", 0.0))


def read_settings(path: Path) -> dict[str, Any]:
    """
    :param path: YAML file of RL Zoo's
    :return: its settings, none if there is no such file
    """
    # Unsafe, as RL Zoo writes ordered dictionaries as Python objects.
    return dict(yaml.load(path.read_text(), Loader=yaml.UnsafeLoader) or {}) if path.is_file() else {}

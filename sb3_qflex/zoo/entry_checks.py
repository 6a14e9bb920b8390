"""Is an entry of a hyperparameter file of the right shape? RL Zoo itself passes on whatever YAML made of it.

What RL Zoo takes is taken; what it would pass on to fail elsewhere, or nowhere, is refused by the name of its key. What
an algorithm's own arguments may be is checked where the model is built; here is what lies between the file and that.
"""

import math
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
import yaml
from stable_baselines3.common.callbacks import BaseCallback

from sb3_qflex.common import validation
from sb3_qflex.common.keywords import keywords_of, without_sde
from sb3_qflex.zoo.algorithms import class_of
from sb3_qflex.zoo.trials import check_trial, entry_below, over

_Check = Callable[[Any], bool]
_BROKEN = object()


def evaluated(value: Any) -> Any:
    """What RL Zoo makes of a string that it evaluates right after these checks; if it fails, what no check takes."""
    if not isinstance(value, str):
        return value
    try:
        return eval(value, dict(vars(import_module("rl_zoo3.exp_manager"))))
    except Exception:
        return _BROKEN


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is(kind: type) -> _Check:
    return lambda value: isinstance(value, kind)


_is_name, _is_mapping = _is(str), _is(Mapping)


def _or_none(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


def _is_normalize(value: Any) -> bool:
    # A string is made keywords, and RL Zoo writes gamma to them.
    return isinstance(evaluated(value), dict) if isinstance(value, str) else isinstance(value, (bool, dict))


def _is_noise_std(value: Any) -> bool:
    try:
        std = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, (str, bool)) and bool(np.all(np.isfinite(std) & (std >= 0)))


def _are_parts(is_part: _Check) -> _Check:
    """Of one or a list of wrappers or callbacks, each as it is or as a mapping of one key to its arguments."""

    def is_one(value: Any) -> bool:
        if isinstance(value, dict) and len(value) == 1:
            (part, kwargs), *_ = value.items()
            return is_part(part) and isinstance(kwargs, Mapping)
        return is_part(value)

    return lambda value: value is None or all(map(is_one, value if isinstance(value, list) else [value]))


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and "." in value


def _is_device(value: Any) -> bool:
    try:
        return value == "auto" or isinstance(th.device(value), th.device)
    except (RuntimeError, TypeError):
        return False


def _is_learning_rate(value: Any) -> bool:
    if not isinstance(value, str):
        return _is_number(value)
    # Whatever the name says, RL Zoo makes a linear schedule of it.
    _, _, initial = value.partition("_")
    try:
        return "_" not in initial and 0.0 <= float(initial) < math.inf
    except ValueError:
        return False


_COUNT = (_is_count, "a whole number of at least 1")
_COUNT_OR_NONE = (_or_none(_is_count), "a whole number of at least 1")
_EVALUATED = (
    lambda value: _or_none(_is_mapping)(evaluated(value)),
    "a mapping, or a string with a Python expression of one such as dict(a=1)",
)
_WRAPPERS = (
    _are_parts(lambda value: isinstance(value, type) or _is_path(value)),
    "a class or its dotted path, a mapping of one to its arguments, or a list of these",
)
#: What each key may hold; keys that are not here are arguments of the algorithm.
_KINDS: dict[str, tuple[_Check, str]] = {
    "n_timesteps": (lambda value: _is_number(value) and value >= 1, "a number of at least 1"),
    "n_envs": _COUNT,
    "frame_stack": _COUNT_OR_NONE,
    "stats_window_size": _COUNT_OR_NONE,
    "policy": (_is_name, "a name such as MlpPolicy"),
    "policy_kwargs": _EVALUATED,
    "replay_buffer_class": (
        lambda value: value is None or isinstance(evaluated(value), type),
        "a class or its name such as HerReplayBuffer",
    ),
    "replay_buffer_kwargs": _EVALUATED,
    "env_kwargs": (lambda value: not value or _is_mapping(value), "a mapping"),
    "monitor_kwargs": (lambda value: not value or _EVALUATED[0](value), _EVALUATED[1]),
    "vec_env": (_or_none(_is_name), "a name"),
    "vec_env_kwargs": _EVALUATED,
    "normalize": (_or_none(_is_normalize), "true, false, a mapping, or a string such as dict(norm_reward=False)"),
    "noise_type": (
        _or_none(lambda value: _is_name(value) and ("normal" in value or "ornstein-uhlenbeck" in value)),
        "normal or ornstein-uhlenbeck",
    ),
    "noise_std": (_is_noise_std, "a number of at least 0, or one for each actuator"),
    "env_wrapper": _WRAPPERS,
    "vec_env_wrapper": _WRAPPERS,
    "callback": (
        _are_parts(lambda value: isinstance(value, BaseCallback) or _is_path(value)),
        "a callback or the dotted path of a class, a mapping of one to its arguments, or a list of these",
    ),
    "learning_rate": (_is_learning_rate, "a number, or lin_x with a number x of at least 0"),
    "optimize_memory_usage": (lambda value: isinstance(value, bool), "true or false"),
    "seed": (lambda value: value is None or (isinstance(value, int) and value >= 0), "a whole number of at least 0"),
    "verbose": (lambda value: value in (0, 1, 2), "0, 1 or 2"),
    "device": (_is_device, "a name such as cpu"),
    "tensorboard_log": (_or_none(_is_name), "a folder"),
}
_SDE = ("use_sde", "sde_sample_freq", "use_sde_at_warmup")
_REQUIRED = ("n_timesteps", "policy")


def check_file(path: Path, env_id: str) -> None:
    """A ValueError, naming the key, if a YAML file is not a mapping of environment ids to mappings."""
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected a mapping of environment ids to hyperparameters, got {content!r:.100}")
    read = next((key for key in (env_id, "default") if key in content), None)
    # Other keys are nobody's business, but where no entry is found one of them may have been meant.
    for key, entry in content.items() if read is None else [(read, content[read])]:
        if not isinstance(key, str) or not isinstance(entry, Mapping):
            raise ValueError(
                f"{path}: the entry {key!r} must be an environment id with a mapping of hyperparameters, not "
                f"{entry!r:.100}"
            )


def check_entry(entry: Mapping[Any, Any], arguments: Collection[str]) -> None:
    """A ValueError naming the key whose value has the wrong shape, or that is unknown or missing."""
    for key in _REQUIRED:
        if key not in entry:
            raise ValueError(f"Hyperparameters: {key} is missing; it must be {_KINDS[key][1]}.")
    if (entry.get("noise_type") is None) != ("noise_std" not in entry):
        raise ValueError("Hyperparameters: give noise_type and noise_std together; one of them is missing.")
    validation.check_names("hyperparameter", entry, [*_KINDS, *arguments])
    for key, value in entry.items():
        is_right, expected = _KINDS.get(key, (None, ""))
        if is_right is not None and not is_right(value):
            raise ValueError(f"Hyperparameters: {key} must be {expected}, not {value!r:.100}.")
    if entry.get("frame_stack") is not None and entry.get("normalize"):
        raise ValueError(
            "Hyperparameters: frame_stack and normalize do not go together: RL Zoo stacks above VecNormalize, while a "
            "replay buffer holds what lies below it. Stack below it, with vec_env_wrapper: "
            f"[{{stable_baselines3.common.vec_env.VecFrameStack: {{n_stack: {entry['frame_stack']}}}}}]."
        )


def checking(read_hyperparameters: Callable[..., Any], self: Any) -> Any:
    """Around ``ExperimentManager.read_hyperparameters``: refuses what has the wrong shape, for our algorithms."""
    algorithm_class = class_of(self.algo)
    if algorithm_class is None:
        return read_hyperparameters(self)
    check_trial(self)
    if str(self.config).endswith((".yml", ".yaml")):
        check_file(Path(self.config), self.env_name.gym_id)
    below = entry_below(read_hyperparameters, self)
    with over({key: evaluated(value) for key, value in below.items() if key.endswith("_kwargs")}):
        hyperparams, saved = read_hyperparameters(self)
    arguments = [name for name in keywords_of(algorithm_class) if name != "env"]
    if "use_sde" not in arguments:
        _leave_sde_out(hyperparams, algorithm_class)
    _make_numbers(hyperparams)
    check_entry(hyperparams, arguments)
    return hyperparams, saved


def _leave_sde_out(hyperparams: dict[str, Any], algorithm_class: type) -> None:
    """Options of gSDE in an entry that was written for SAC: refused where they are meant, else left out."""
    if hyperparams.get("use_sde"):
        without_sde(algorithm_class.__name__, hyperparams)
    for key in _SDE:
        hyperparams.pop(key, None)


def _make_numbers(hyperparams: dict[str, Any]) -> None:
    """What YAML reads as text because it has no point, 1e-3, is a number."""
    for key in ("n_timesteps", "learning_rate"):
        if isinstance(hyperparams.get(key), str):
            with suppress(ValueError):
                hyperparams[key] = float(hyperparams[key])

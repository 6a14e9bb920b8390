"""Is an entry of a hyperparameter file of the right shape? RL Zoo itself passes on whatever YAML made of it.

What QFlex's own arguments may be is checked where the model is built; here is what lies between the file and that.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch as th
import yaml

from sb3_qflex.common import validation


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_evaluated_mapping(value: Any) -> bool:
    return _is_mapping(_evaluated(value))


def _is_evaluated_class(value: Any) -> bool:
    return isinstance(_evaluated(value), type)


def _evaluated(value: Any) -> Any:
    """What RL Zoo makes of the strings that it evaluates in that module, right after these checks."""
    if not isinstance(value, str):
        return value
    try:
        return eval(value, dict(vars(import_module("rl_zoo3.exp_manager"))))
    except Exception:
        return None


def _is_wrappers(value: Any) -> bool:
    return isinstance(value, (str, list, Mapping)) or value is None


def _is_device(value: Any) -> bool:
    try:
        return value == "auto" or isinstance(th.device(value), th.device)
    except (RuntimeError, TypeError):
        return False


def _is_learning_rate(value: Any) -> bool:
    if not isinstance(value, str):
        return _is_number(value)
    name, _, initial = value.partition("_")
    try:
        return name == "lin" and "_" not in initial and 0.0 <= float(initial) < math.inf
    except ValueError:
        return False


_COUNT = (_is_count, "a whole number of at least 1")
_MAPPING = (_is_mapping, "a mapping")
_EVALUATED = (_is_evaluated_mapping, "a mapping, or a string with a Python expression of one such as dict(a=1)")
_WRAPPERS = (_is_wrappers, "a name, a list of names or mappings, or a mapping")
_SWITCH = (lambda value: isinstance(value, bool), "true or false")
#: What each key may hold; keys that are not here are arguments of QFlex.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "n_timesteps": (lambda value: _is_number(value) and value >= 1, "a number of at least 1"),
    "n_envs": _COUNT,
    "frame_stack": _COUNT,
    "stats_window_size": _COUNT,
    "policy": (_is_name, "a name such as MlpPolicy"),
    "policy_kwargs": _EVALUATED,
    "replay_buffer_class": (_is_evaluated_class, "a name such as HerReplayBuffer"),
    "replay_buffer_kwargs": _EVALUATED,
    "env_kwargs": _MAPPING,
    "monitor_kwargs": _MAPPING,
    "vec_env": (_is_name, "a name"),
    "vec_env_kwargs": _EVALUATED,
    "normalize": (
        lambda value: isinstance(value, bool) or (isinstance(value, str) and _is_evaluated_mapping(value)),
        "true, false, or a string such as dict(norm_reward=False)",
    ),
    "noise_type": (
        lambda value: value is None or str(value).strip() in ("normal", "ornstein-uhlenbeck"),
        "normal or ornstein-uhlenbeck",
    ),
    "noise_std": (lambda value: _is_number(value) and value >= 0, "a number of at least 0"),
    "env_wrapper": _WRAPPERS,
    "vec_env_wrapper": _WRAPPERS,
    "callback": _WRAPPERS,
    "learning_rate": (_is_learning_rate, "a number, or lin_x with a number x of at least 0"),
    "optimize_memory_usage": _SWITCH,
    "seed": (lambda value: value is None or (isinstance(value, int) and value >= 0), "a whole number of at least 0"),
    "verbose": (lambda value: value in (0, 1, 2), "0, 1 or 2"),
    "device": (_is_device, "a name such as cpu"),
    "tensorboard_log": (lambda value: value is None or isinstance(value, str), "a folder"),
}
_REQUIRED = ("n_timesteps", "policy")


def check_file(path: Path) -> None:
    """
    :param path: A YAML file of hyperparameters
    :raises ValueError: If it is not a mapping of environment ids to mappings, naming the key
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected a mapping of environment ids to hyperparameters, got {content!r:.100}")
    for key, entry in content.items():
        if not isinstance(key, str) or not isinstance(entry, Mapping):
            raise ValueError(
                f"{path}: the entry {key!r} must be an environment id with a mapping of hyperparameters, not "
                f"{entry!r:.100}"
            )


def check_entry(entry: Mapping[Any, Any], arguments: Iterable[str]) -> None:
    """
    :param entry: Hyperparameters of one environment for QFlex
    :param arguments: Names of QFlex's arguments
    :raises ValueError: Naming the key whose value has the wrong shape, or that is unknown or missing
    """
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


def checking(read_hyperparameters: Callable[..., Any]) -> Callable[..., Any]:
    """
    Let ``ExperimentManager.read_hyperparameters`` refuse what has the wrong shape, for QFlex.

    :param read_hyperparameters: The original method
    :return: The method with the checks
    """

    @functools.wraps(read_hyperparameters)
    def wrapper(self: Any) -> Any:
        if self.algo != "qflex":
            return read_hyperparameters(self)
        if str(self.config).endswith((".yml", ".yaml")):
            check_file(Path(self.config))
        hyperparams, saved = read_hyperparameters(self)
        check_entry(hyperparams, _qflex_arguments())
        return hyperparams, saved

    return wrapper


def _qflex_arguments() -> list[str]:
    from sb3_qflex.qflex.qflex import QFlex

    return [name for name in inspect.signature(QFlex.__init__).parameters if name not in ("self", "env", "unknown")]

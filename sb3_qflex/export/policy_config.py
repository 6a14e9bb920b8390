"""Arguments of a policy as JSON and back; only names that are known here become classes."""

from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from sb3_qflex.common.policies import Policy
from sb3_qflex.common.validation import UnsupportedError, check_choice
from sb3_qflex.export.networks import ACTIVATIONS
from sb3_qflex.export.observations import PLAIN_EXTRACTORS
from sb3_qflex.export.space_json import space_from_json, space_to_json

AnyPolicy = TypeVar("AnyPolicy", bound=Policy)

_EXTRACTORS: dict[str, type[BaseFeaturesExtractor]] = {cls.__name__: cls for cls in PLAIN_EXTRACTORS}
_SPACES = ("observation_space", "action_space")
#: Arguments whose values are classes, with the names that a file can have for them.
_CLASSES: dict[str, dict[str, Any]] = {"activation_fn": ACTIVATIONS, "features_extractor_class": _EXTRACTORS}
#: What other names for them are called in messages.
_TITLES = {"activation_fn": "activation", "features_extractor_class": "features extractor"}


def config_to_json(policy: Policy) -> dict[str, Any]:
    """
    :param policy: Of a class that declares its ``file_arguments``.
    :raises UnsupportedError: If it needs code of its own.
    """
    if "file_arguments" not in vars(type(policy)):
        raise UnsupportedError(
            f"A policy file cannot carry the code of {type(policy).__name__}, a class of your own: use "
            "policy.save, whose file is as trustworthy as its sender, or export_onnx. A class of a package that its "
            "readers have too can declare file_arguments."
        )
    given = policy._get_constructor_parameters()
    config = {name: _plain(given[name]) for name in policy.file_arguments}
    config.update({name: space_to_json(given[name]) for name in _SPACES})
    config.update({name: _name_of(given[name], known, _TITLES[name]) for name, known in _CLASSES.items()})
    if given["features_extractor_kwargs"]:
        raise UnsupportedError(
            "A policy file has no features_extractor_kwargs: with the extractors that it knows "
            f"({', '.join(_EXTRACTORS)}) they say something of images alone."
        )
    return config


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _name_of(cls: Any, known: dict[str, Any], what: str) -> str:
    name = getattr(cls, "__name__", str(cls))
    if known.get(name) is not cls:
        raise UnsupportedError(
            f"A policy file cannot carry the {what} {name}; known are {', '.join(known)}. Use policy.save, whose file "
            "is as trustworthy as its sender, or export_onnx."
        )
    return name


def policy_from_config(cls: type[AnyPolicy], config: Any, n_tensors: int) -> AnyPolicy:
    """
    A new policy of given arguments.

    :param cls: Its class.
    :param config: Result of :func:`config_to_json`.
    :param n_tensors: Tensors of the file: there cannot be more networks or layers.
    :raises ValueError: For wrong arguments.
    """
    expected = {*_SPACES, *_CLASSES, *cls.file_arguments}
    if not isinstance(config, dict) or config.keys() != expected:
        found = set(config) if isinstance(config, dict) else set()
        raise ValueError(f"the arguments {sorted(map(str, found ^ expected))[:5]} are missing or unknown")
    for name, types in cls.file_arguments.items():
        if type(config[name]) not in types:
            raise ValueError(f"{name} has to be of type {' or '.join(t.__name__ for t in types)}, not {config[name]!r}")
    for name in cls.network_counts:
        if config[name] > n_tensors:
            raise ValueError(f"{name}={config[name]} are more networks than the file has tensors")
    for name, known in _CLASSES.items():
        check_choice(name, config[name], known)
    observation_space, action_space = (space_from_json(config[name]) for name in _SPACES)
    if not isinstance(action_space, spaces.Box):
        raise ValueError("the action space has to be a Box")
    return cls(
        observation_space,
        action_space,
        _no_schedule,
        # The defaults of a class may be fused, which not every device knows.
        optimizer_kwargs={},
        **{name: known[config[name]] for name, known in _CLASSES.items()},
        **{name: config[name] for name in cls.file_arguments},
    )


def _no_schedule(_: float) -> float:
    return 0.0

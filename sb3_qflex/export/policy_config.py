"""Arguments of a policy as JSON and back; only names that are known here become classes."""

from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from sb3_qflex.common.validation import UnsupportedError, check_choice
from sb3_qflex.export.networks import ACTIVATIONS
from sb3_qflex.export.observations import PLAIN_EXTRACTORS
from sb3_qflex.export.space_json import space_from_json, space_to_json
from sb3_qflex.qflex.policies import MultiInputPolicy, QFlexPolicy

AnyPolicy = TypeVar("AnyPolicy", bound=QFlexPolicy)

_EXTRACTORS: dict[str, type[BaseFeaturesExtractor]] = {cls.__name__: cls for cls in PLAIN_EXTRACTORS}
_SPACES = ("observation_space", "action_space")
#: Arguments for training alone, which a policy file leaves out.
_TRAINING = ("lr_schedule", "optimizer_class", "optimizer_kwargs")
#: Type of every other argument; the policy's constructor checks their values.
_TYPES: dict[str, tuple[type, ...]] = {
    "normalize_images": (bool,),
    "net_arch": (list, dict, type(None)),
    "batch_norm": (bool,),
    "batch_norm_momentum": (float, int),
    "batch_norm_eps": (float, int),
    "renorm_warmup_steps": (int,),
    "n_critics": (int,),
    "share_features_extractor": (bool,),
    "flow_steps": (int,),
    "guidance_steps": (int,),
    "guidance_step_size": (float, int),
    "preconditioner": (list, str, type(None)),
    "exploration": (str,),
}
_NAMES = {*_SPACES, *_TYPES, "activation_fn", "features_extractor_class"}


def config_to_json(policy: QFlexPolicy) -> dict[str, Any]:
    """
    :param policy: Of QFlex's own classes.
    :raises UnsupportedError: If it needs code of its own.
    """
    if type(policy) not in (QFlexPolicy, MultiInputPolicy):
        raise UnsupportedError(
            f"A policy file cannot carry the code of {type(policy).__name__}, a class of your own: use "
            "policy.save, whose file is as trustworthy as its sender, or export_onnx."
        )
    given = policy._get_constructor_parameters()
    config = {name: _plain(given[name]) for name in _TYPES}
    config.update({name: space_to_json(given[name]) for name in _SPACES})
    config["activation_fn"] = _name_of(given["activation_fn"], ACTIVATIONS, "activation")
    config["features_extractor_class"] = _name_of(given["features_extractor_class"], _EXTRACTORS, "features extractor")
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
    if not isinstance(config, dict) or config.keys() != _NAMES:
        found = set(config) if isinstance(config, dict) else set()
        raise ValueError(f"the arguments {sorted(map(str, found ^ _NAMES))[:5]} are missing or unknown")
    for name, types in _TYPES.items():
        if type(config[name]) not in types:
            raise ValueError(f"{name} has to be of type {' or '.join(t.__name__ for t in types)}, not {config[name]!r}")
    if config["n_critics"] > n_tensors:
        raise ValueError(f"n_critics={config['n_critics']} are more networks than the file has tensors")
    for name, known in (("activation_fn", ACTIVATIONS), ("features_extractor_class", _EXTRACTORS)):
        check_choice(name, config[name], known)
    observation_space, action_space = (space_from_json(config[name]) for name in _SPACES)
    if not isinstance(action_space, spaces.Box):
        raise ValueError("the action space has to be a Box")
    return cls(
        observation_space,
        action_space,
        _no_schedule,
        activation_fn=ACTIVATIONS[config["activation_fn"]],
        features_extractor_class=_EXTRACTORS[config["features_extractor_class"]],
        # The default ones are fused, which not every device knows.
        optimizer_kwargs={"betas": (0.5, 0.999)},
        **{name: config[name] for name in _TYPES},
    )


def _no_schedule(_: float) -> float:
    return 0.0

"""
Arguments of a policy, Gymnasium spaces among them, as JSON and back.

Only names that are known here become classes. Bounds of spaces are exact.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from sb3_qflex.common.policies import Policy
from sb3_qflex.common.validation import UnsupportedError, check_choice
from sb3_qflex.export.networks import ACTIVATIONS
from sb3_qflex.export.observations import PLAIN_EXTRACTORS

AnyPolicy = TypeVar("AnyPolicy", bound=Policy)

_EXTRACTORS: dict[str, type[BaseFeaturesExtractor]] = {cls.__name__: cls for cls in PLAIN_EXTRACTORS}
_SPACES = ("observation_space", "action_space")
_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
#: Arguments whose values are classes, with the names that a file can have for them.
_CLASSES: dict[str, dict[str, Any]] = {"activation_fn": ACTIVATIONS, "features_extractor_class": _EXTRACTORS}
#: What other names for them are called in messages.
_TITLES = {"activation_fn": "activation", "features_extractor_class": "features extractor"}


def config_to_json(policy: Policy) -> dict[str, Any]:
    """The arguments of a policy; an UnsupportedError if it needs code of its own."""
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
    A new policy of what :func:`config_to_json` gave; a ValueError for wrong arguments.

    :param n_tensors: Tensors of the file: there cannot be more networks or layers.
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
        cls._dummy_schedule,  # type: ignore[arg-type] # what policies with networks take there
        # The defaults of a class may be fused, which not every device knows.
        optimizer_kwargs={},
        **{name: known[config[name]] for name, known in _CLASSES.items()},
        **{name: config[name] for name in cls.file_arguments},
    )


# --- Spaces ---


def space_to_json(space: spaces.Space) -> dict[str, Any]:
    """A Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of them; infinite bounds are "inf" and "-inf"."""
    kind = type(space).__name__
    if isinstance(space, spaces.Box):
        bounds = {
            name: [x if math.isfinite(x) else str(x) for x in getattr(space, name).ravel().tolist()]
            for name in ("low", "high")
        }
        return {"kind": kind, "shape": list(space.shape), "dtype": np.dtype(space.dtype).name, **bounds}
    if isinstance(space, spaces.Discrete):
        return {"kind": kind, "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"kind": kind, "nvec": space.nvec.tolist(), "dtype": np.dtype(space.dtype).name}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": kind, "shape": list(space.shape)}
    if isinstance(space, spaces.Dict):
        # A list, since the order of the keys is that of the features.
        return {"kind": kind, "spaces": [[key, space_to_json(part)] for key, part in space.spaces.items()]}
    raise UnsupportedError(f"A {kind} space cannot be written to a policy file.")


def space_from_json(data: Any) -> spaces.Space:
    """The space of which :func:`space_to_json` made this; a ValueError for anything else."""
    kinds: dict[str, tuple[set[str], Callable[[dict], spaces.Space]]] = {
        "Box": ({"shape", "dtype", "low", "high"}, _box),
        "Discrete": ({"n", "start"}, lambda given: spaces.Discrete(_size(given["n"]), start=int(given["start"]))),
        "MultiDiscrete": ({"nvec", "dtype"}, _multi_discrete),
        "MultiBinary": ({"shape"}, lambda given: spaces.MultiBinary([_size(n) for n in given["shape"]])),
        "Dict": ({"spaces"}, _dict),
    }
    if not isinstance(data, dict):
        raise ValueError(f"a space has to be an object, not {str(data)[:80]!r}")
    check_choice("kind of space", data.get("kind"), kinds)
    names, make = kinds[data["kind"]]
    if data.keys() != names | {"kind"}:
        raise ValueError(f"a {data['kind']} space needs {sorted(names)}, not {sorted(data.keys() - {'kind'})}")
    try:
        return make(data)
    except (TypeError, AssertionError, OverflowError) as error:
        raise ValueError(f"wrong {data['kind']} space: {error}") from error


def _size(n: Any) -> int:
    if type(n) is not int or n < 1:
        raise ValueError(f"a size has to be an integer of at least 1, not {n!r}")
    return n


def _dtype(given: dict) -> np.dtype:
    check_choice("dtype of a space", given["dtype"], _DTYPES)
    return np.dtype(given["dtype"])


def _box(given: dict) -> spaces.Box:
    dtype, shape = _dtype(given), [_size(n) for n in given["shape"]]
    # All elements are listed, so that no few bytes of a file can ask for a huge array.
    bounds = ([float(x) if x in ("inf", "-inf") else x for x in given[name]] for name in ("low", "high"))
    low, high = (np.array(bound, dtype).reshape(shape) for bound in bounds)
    return spaces.Box(low, high, dtype=dtype.type)


def _multi_discrete(given: dict) -> spaces.MultiDiscrete:
    return spaces.MultiDiscrete(np.array(given["nvec"], np.int64), dtype=_dtype(given).type)


def _dict(given: dict) -> spaces.Dict:
    return spaces.Dict(OrderedDict((str(key), space_from_json(part)) for key, part in given["spaces"]))

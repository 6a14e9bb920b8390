"""Gymnasium spaces as JSON and back, with exact bounds and nothing but the known kinds."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from sb3_qflex.common.validation import UnsupportedError, check_choice

_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def space_to_json(space: spaces.Space) -> dict[str, Any]:
    """
    :param space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of them.
    :return: For ``json.dumps``; infinite bounds are the strings "inf" and "-inf".
    :raises UnsupportedError: For another space.
    """
    kind = type(space).__name__
    if isinstance(space, spaces.Box):
        bounds = {name: [_number(x) for x in getattr(space, name).ravel().tolist()] for name in ("low", "high")}
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


def _number(x: Any) -> Any:
    return x if math.isfinite(x) else str(x)


def space_from_json(data: Any) -> spaces.Space:
    """
    :param data: Result of :func:`space_to_json`.
    :raises ValueError: For anything else.
    """
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
    low, high = (np.array([_bound(x) for x in given[name]], dtype).reshape(shape) for name in ("low", "high"))
    return spaces.Box(low, high, dtype=dtype.type)


def _bound(x: Any) -> Any:
    return float(x) if x in ("inf", "-inf") else x


def _multi_discrete(given: dict) -> spaces.MultiDiscrete:
    return spaces.MultiDiscrete(np.array(given["nvec"], np.int64), dtype=_dtype(given).type)


def _dict(given: dict) -> spaces.Dict:
    return spaces.Dict(OrderedDict((str(key), space_from_json(part)) for key, part in given["spaces"]))

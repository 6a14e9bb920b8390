"""
The state of an environment with its wrappers as bytes, and back into a like environment.

Layers (wrappers from the outside in, then what they wrap) are written attribute by attribute and given back in place:
an environment that defines its own pickling often does so by its constructor's arguments, which loses where it is.
"""

import io
import pickle
from collections.abc import Sequence
from typing import Any

import cloudpickle
import gymnasium as gym

from sb3_qflex.vec_env.errors import NotSavableError

# Attributes that stay those of the layer at hand: Monitor's open file, and what a VecEnvWrapper knows of its class.
_KEPT = ("results_writer", "class_attributes")


def env_layers(env: gym.Env) -> list[gym.Env]:
    """An environment's wrappers from the outside in, and the environment itself."""
    layers = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    return layers


def dump(layers: Sequence[Any], inner: Any = None) -> bytes:
    """
    :param layers: Whose attributes are written; references from one to another are kept.
    :param inner: What the innermost layer wraps, if that is not to be written.
    :raises NotSavableError: If an attribute cannot be pickled.
    """
    known: dict[int, tuple[int, str | None]] = {
        id(layer): (index, None) for index, layer in enumerate([*layers, inner])
    }
    for index, layer in enumerate(layers):
        known |= {id(vars(layer)[name]): (index, name) for name in _KEPT if vars(layer).get(name) is not None}
    file = io.BytesIO()
    try:
        _Pickler(file, known).dump((_names(layers), [vars(layer) for layer in layers]))
    except Exception as error:
        # Whatever the pickling of somebody else's object raises.
        kinds = " of ".join(type(layer).__name__ for layer in layers)
        raise NotSavableError(f"{kinds} cannot be pickled: {error}") from error
    return file.getvalue()


def restore(layers: Sequence[Any], state: bytes, inner: Any = None) -> None:
    """
    :param layers: Whose attributes are replaced, of the classes that were written.
    :param state: What :func:`dump` gave.
    :param inner: What the innermost layer wraps, if that was not written.
    :raises NotSavableError: If the classes are others; nothing is changed then.
    """
    names, attributes = _Unpickler(io.BytesIO(state), [*layers, inner]).load()
    if names != _names(layers):
        raise NotSavableError(f"the state is that of {names}, and what is there is {_names(layers)}")
    for layer, values in zip(layers, attributes, strict=True):
        own = _own(layer)
        vars(layer).update({name: value for name, value in values.items() if name not in own})


def _own(layer: Any) -> tuple[str, ...]:
    """A Monitor counts from the time that its file's header names: its own, unless it adds to an older file."""
    # By its attributes alone: SB3's class would bring torch into worker processes.
    file = getattr(vars(layer).get("results_writer"), "file_handler", None)
    return ("t_start",) if getattr(file, "mode", "").startswith("w") else ()


def _names(layers: Sequence[Any]) -> list[str]:
    return [f"{type(layer).__module__}.{type(layer).__qualname__}" for layer in layers]


class _Pickler(cloudpickle.Pickler):
    def __init__(self, file: io.BytesIO, known: dict[int, tuple[int, str | None]]) -> None:
        super().__init__(file)
        self._known = known

    def persistent_id(self, value: Any) -> tuple[int, str | None] | None:
        if id(value) not in self._known and isinstance(value, gym.Env):
            raise pickle.PicklingError(f"it holds another environment, {value}")
        return None if value is None else self._known.get(id(value))


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, layers: Sequence[Any]) -> None:
        super().__init__(file)
        self._layers = layers

    def persistent_load(self, identity: tuple[int, str | None]) -> Any:
        index, name = identity
        return self._layers[index] if name is None else vars(self._layers[index]).get(name)

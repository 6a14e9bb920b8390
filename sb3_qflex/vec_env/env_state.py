"""
The state of an environment with its wrappers as bytes, and back into a like environment.

Layers (wrappers from the outside in, then what they wrap) are written attribute by attribute and given back in place:
an environment that defines its own pickling often does so by its constructor's arguments, which loses where it is.
One whose attributes are not all of its state, as where a simulator has it, defines ``training_state()``, which gives a
dict, and ``restore_training_state(state)``, which takes it.
"""

import io
import pickle
from collections import Counter
from collections.abc import Sequence
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np

from sb3_qflex.common.array_memory import is_of_a_simulator, owner_of
from sb3_qflex.vec_env.errors import NotSavableError

# Attributes that stay those of the layer at hand: Monitor's open file, and what a VecEnvWrapper knows of its class.
_KEPT = ("results_writer", "class_attributes")
_SIMPLE = (str, int, float, type(None))


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
        states = [layer.training_state() if hasattr(type(layer), "training_state") else vars(layer) for layer in layers]
        _Pickler(file, known, states).dump((_names(layers), states))
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
    :raises NotSavableError: If the classes or the arguments that they were made with are others; nothing is changed
        then.
    """
    names, states = _Unpickler(io.BytesIO(state), [*layers, inner]).load()
    if names != _names(layers):
        raise NotSavableError(f"the state is that of {names}, and what is there is {_names(layers)}")
    for layer, values in zip(layers, states, strict=True):
        _check_arguments(vars(layer).get("spec"), values.get("spec"))
    for layer, values in zip(layers, states, strict=True):
        own = _own(layer)
        values = {name: value for name, value in values.items() if name not in own}
        if hasattr(type(layer), "restore_training_state"):
            layer.restore_training_state(values)
        else:
            vars(layer).update(values)


def _own(layer: Any) -> list[str]:
    """What stays the layer's: its time limit, and the time that the header of a Monitor's new file names."""
    # By attributes alone: SB3's class would bring torch into worker processes.
    file = getattr(vars(layer).get("results_writer"), "file_handler", None)
    return ["_max_episode_steps", *(["t_start"] if getattr(file, "mode", "").startswith("w") else [])]


def _check_arguments(present: Any, saved: Any) -> None:
    """Of ``gym.make``, as far as they are words and numbers; pictures do not matter."""
    given, before = (getattr(spec, "kwargs", None) or {} for spec in (present, saved))
    for name in {*given, *before} - {"render_mode"}:
        now, then = given.get(name), before.get(name)
        if now != then and all(isinstance(value, _SIMPLE) for value in (now, then)):
            raise NotSavableError(f"the state is that of an environment made with {name}={then!r}, and not {now!r}")


def _names(layers: Sequence[Any]) -> list[str]:
    return [f"{type(layer).__module__}.{type(layer).__qualname__}" for layer in layers]


class _Pickler(cloudpickle.Pickler):
    """
    Keeps references between layers, and which arrays of theirs share memory.

    :param file: What is written
    :param known: What is not written, and how it is found again
    :param states: What is
    """

    def __init__(
        self, file: io.BytesIO, known: dict[int, tuple[int, str | None]], states: Sequence[dict[str, Any]]
    ) -> None:
        super().__init__(file)
        self._known = known
        arrays = [value for state in states for value in state.values() if isinstance(value, np.ndarray)]
        # A single row of a table, say, is a value of its own.
        self._shared = {one for one, count in Counter(id(owner_of(array)) for array in arrays).items() if count > 1}

    def persistent_id(self, value: Any) -> tuple[int, str | None] | None:
        if id(value) not in self._known and isinstance(value, gym.Env):
            raise pickle.PicklingError(f"it holds another environment, {value}")
        return None if value is None else self._known.get(id(value))

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.base is not None and not value.dtype.hasobject:
            if is_of_a_simulator(value):
                # What is read back would be a copy that never changes again.
                raise pickle.PicklingError(f"it holds an array of shape {value.shape} whose memory is not NumPy's own")
            owner = owner_of(value)
            if id(owner) in self._shared:
                first = value.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
                return _view, (owner, value.dtype, value.shape, first, value.strides)
        return super().reducer_override(value)


def _view(owner: np.ndarray, dtype: np.dtype, shape: tuple[int, ...], first: int, strides: tuple[int, ...]) -> Any:
    return np.ndarray(shape, dtype, owner, first, strides)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, layers: Sequence[Any]) -> None:
        super().__init__(file)
        self._layers = layers

    def persistent_load(self, identity: tuple[int, str | None]) -> Any:
        index, name = identity
        return self._layers[index] if name is None else vars(self._layers[index]).get(name)

"""Checks of what users pass to an algorithm; every error names what was given, what is allowed and what to do."""

import math
import warnings
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.type_aliases import TrainFreq

BAD_STATES = ("raise", "truncate", "off")

# Beyond these a unit action step is far from one in the environment, and lopsided boxes have their zero at an edge.
WIDE_BOX = 1e3
LOPSIDED_BOX = 20.0


class UnsupportedError(ValueError, AssertionError):
    """A space or a combination that is not supported; an AssertionError too, as SB3 raises for its algorithms."""


def near_match(name: str, known: Iterable[str]) -> str:
    """
    A hint at what may have been meant.

    :param name: The unknown name.
    :param known: All names.
    :return: ", did you mean ...?", or a full stop where nothing is near.
    """
    matches = get_close_matches(str(name), [str(k) for k in known], n=1)
    return f", did you mean {matches[0]!r}?" if matches else "."


def check_choice(name: str, value: Any, allowed: Iterable[str]) -> None:
    """
    :param name: Name of the option.
    :param value: What was given.
    :param allowed: All values.
    :raises ValueError: If it is none of them.
    """
    allowed = tuple(allowed)
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is unknown{near_match(value, allowed)} Choose one of {', '.join(allowed)}.")


def check_names(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """
    :param what: What the names are of, for the message.
    :param given: The names to check.
    :param known: All names.
    :raises ValueError: Naming the first unknown one with its near match.
    """
    known = list(known)
    for name in given:
        if name not in known:
            raise ValueError(
                f"Unknown {what} {name!r}{near_match(name, known)} Known are {', '.join(map(str, known))}."
            )


def check_count(name: str, value: Any, minimum: int = 1) -> None:
    """
    :param name: Name of the option.
    :param value: What was given.
    :param minimum: Smallest value that is allowed.
    :raises ValueError: If it is not an integer of at least the minimum.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, not {value!r}.")


def check_number(name: str, value: Any, minimum: float = 0.0, maximum: float = math.inf, above: bool = False) -> None:
    """
    :param name: Name of the option.
    :param value: What was given.
    :param minimum: Smallest value that is allowed.
    :param maximum: Largest value that is allowed.
    :param above: Whether the minimum itself is not allowed.
    :raises ValueError: If it is not a finite number in that range.
    """
    is_number = not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
    if not is_number or value > maximum or value < minimum or (above and value == minimum):
        interval = f"{'(' if above else '['}{minimum:g}, {maximum:g}{')' if maximum == math.inf else ']'}"
        raise ValueError(f"{name} must be a number in {interval}, not {value!r}.")


def check_flag(name: str, value: Any) -> None:
    """
    :param name: Name of the option.
    :param value: What was given.
    :raises ValueError: If it is neither True nor False.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r}.")


def check_batch_norm(momentum: Any, eps: Any, warmup_steps: Any) -> None:
    """
    :param momentum: In (0, 1].
    :param eps: Positive.
    :param warmup_steps: An integer of at least 0.
    :raises ValueError: If one of them is not.
    """
    check_number("batch_norm_momentum", momentum, maximum=1.0, above=True)
    check_number("batch_norm_eps", eps, above=True)
    check_count("renorm_warmup_steps", warmup_steps, minimum=0)


def check_coefficient(name: str, value: Any) -> None:
    """
    :param name: Name of the option.
    :param value: A number of at least 0, "auto", or "auto_x" with a positive x.
    :raises ValueError: For anything else.
    """
    if not isinstance(value, str):
        check_number(name, value)
        return
    prefix, _, initial = value.partition("_")
    try:
        valid = prefix == "auto" and (value == "auto" or 0.0 < float(initial) < math.inf)
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"{name} must be a number >= 0, 'auto' or 'auto_x' with x > 0, not {value!r}.")


def initial_coefficient(value: str | float) -> float:
    """
    :param value: What :func:`check_coefficient` let pass.
    :return: The number, or that which learning starts from.
    """
    return float(value.partition("_")[2] or 1.0) if isinstance(value, str) else float(value)


def check_train_freq(train_freq: Any, n_envs: int) -> None:
    """
    :param train_freq: A count, a pair of a count and "step" or "episode", or SB3's ``TrainFreq``.
    :param n_envs: Number of environments.
    :raises ValueError: For anything else, and for episodes of several environments.
    """
    if isinstance(train_freq, TrainFreq):
        frequency, unit = train_freq.frequency, train_freq.unit.value
    elif isinstance(train_freq, tuple):
        if len(train_freq) != 2:
            raise ValueError(f'train_freq must be an integer or a pair such as (5, "step"), not {train_freq!r}.')
        frequency, unit = train_freq
    else:
        frequency, unit = train_freq, "step"
    check_count("train_freq", frequency)
    check_choice("unit of train_freq", getattr(unit, "value", unit), ("step", "episode"))
    if unit == "episode" and n_envs > 1:
        raise ValueError(
            f"train_freq in episodes works with one environment, not {n_envs}: their episodes end at different steps. "
            'Use (frequency, "step").'
        )


def check_finite_observation(observation: Any, observation_space: spaces.Space) -> None:
    """
    :param observation: What ``predict`` is given: an array, or a dict of them; one environment or several.
    :param observation_space: That of the policy.
    :raises ValueError: If a number is not finite, naming its entry and environment.
    """
    if isinstance(observation, Mapping):
        for key, value in observation.items():
            _check_finite(value, f" {key!r}", observation_space[key])  # type: ignore[index]
    else:
        _check_finite(observation, "", observation_space)


def _check_finite(values: Any, name: str, space: spaces.Space | None) -> None:
    array = np.asarray(values)
    # The sum first: one pass without an array of flags, for what is finite nearly always.
    if not np.issubdtype(array.dtype, np.floating) or np.isfinite(array.sum()) or np.isfinite(array).all():
        return
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    several = space is not None and space.shape is not None and array.ndim > len(space.shape)
    entry = index[1:] if several else index
    where = f" of environment {index[0]}" if several else ""
    raise ValueError(
        f"Entry {entry[0] if len(entry) == 1 else entry} of the observation{name}{where} is {array[index]}: a policy "
        "has no action for it. Mend the environment (its simulation may be unstable), or end the episode there."
    )


def net_archs(net_arch: Any, default: list[int], networks: Iterable[str]) -> dict[str, list[int]]:
    """
    Hidden layers of each network.

    :param net_arch: None, a list for all networks, or a dict with names of networks as keys.
    :param default: Layers where nothing is said.
    :param networks: Their names.
    :return: Layers of each network.
    :raises ValueError: For unknown names or widths that are not positive integers.
    """
    networks = tuple(networks)
    if net_arch is None:
        given: dict[str, Any] = {}
    elif isinstance(net_arch, dict):
        given = net_arch
    else:
        given = dict.fromkeys(networks, net_arch)
    check_names("network in net_arch", given, networks)
    archs = {name: list(given.get(name, default)) for name in networks}
    for name, widths in archs.items():
        for width in widths:
            check_count(f"each width in net_arch[{name!r}]", width)
    return archs


def check_spaces(observation_space: spaces.Space, action_space: spaces.Space) -> None:
    """
    :param observation_space: Box, Discrete, MultiDiscrete, MultiBinary, or a flat Dict of them; no images.
    :param action_space: A bounded Box of floats.
    :raises UnsupportedError: For other spaces.
    """
    check_action_space(action_space)
    if not isinstance(observation_space, spaces.Dict):
        return _check_observation("observation", observation_space)
    if not observation_space.spaces:
        raise UnsupportedError("At least one observation is needed, and the Dict space has none.")
    for name, space in observation_space.items():
        _check_observation(name, space)


def _check_observation(name: str, space: spaces.Space) -> None:
    if not isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        raise UnsupportedError(
            f"The algorithm does not support the {type(space).__name__} observation {name!r}: use Box, Discrete, "
            "MultiDiscrete, MultiBinary, or a Dict of them that is not nested."
        )
    if is_image_space(space):
        raise UnsupportedError(
            f"The algorithm does not support images, and the observation {name!r} is one ({space}): encode it in a "
            "wrapper of the environment first."
        )
    if np.any(getattr(space, "start", 0) != 0):
        raise UnsupportedError(
            f"Discrete and MultiDiscrete observations have to start at 0, and {name!r} is {space}: subtract the start "
            "in a wrapper of the environment."
        )
    _check_shape(f"observation {name!r}", space)
    if isinstance(space, spaces.MultiDiscrete) and len(space.shape) != 1:
        raise UnsupportedError(
            f"MultiDiscrete observations need one dimension, and {name!r} is of shape {space.shape} ({space}): flatten "
            "it in a wrapper of the environment."
        )


def _check_shape(what: str, space: spaces.Space) -> None:
    if isinstance(space, spaces.Box) and space.shape == ():
        raise UnsupportedError(
            f"The {what} is a number without a dimension ({space}): give it shape (1,) in a wrapper of the environment "
            "(gymnasium.wrappers.ReshapeObservation for observations)."
        )
    if 0 in (space.shape or ()):
        raise UnsupportedError(f"The {what} is empty ({space}): leave it out in a wrapper of the environment.")


def check_action_space(action_space: spaces.Space) -> None:
    """
    :param action_space: A Box of floats with finite bounds and some width in each entry.
    :raises UnsupportedError: For anything else.
    """
    if not isinstance(action_space, spaces.Box):
        raise UnsupportedError(f"The algorithm needs a continuous action space (Box), not {action_space}.")
    if not np.issubdtype(action_space.dtype, np.floating):
        raise UnsupportedError(
            f"The algorithm needs actions of a float type, not {action_space.dtype} ({action_space})."
        )
    low, high = np.asarray(action_space.low, dtype=np.float64), np.asarray(action_space.high, dtype=np.float64)
    if low.size == 0:
        raise UnsupportedError(f"The algorithm needs at least one actuator, and {action_space} has none.")
    _check_shape("action", action_space)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise UnsupportedError(
            f"Continuous action space must have a finite lower and upper bound, not those of {action_space}: give the "
            "Box the limits of the actuators."
        )
    if not (high > low).all():
        flat = np.flatnonzero((high <= low).ravel())[:5].tolist()
        raise UnsupportedError(
            f"Each actuator needs high > low; entries {flat} of {action_space} have no width: remove these actuators "
            "in a wrapper."
        )


def check_policy_name(name: Any, known: Iterable[str]) -> None:
    """
    :param name: Name of a policy.
    :param known: All names.
    :raises ValueError: If it is none of them, with a word on images for the one that SB3 has for them.
    """
    if name == "CnnPolicy":
        raise ValueError(
            f"policy={name!r} is unknown: it is for images, which are not supported. Encode them in a wrapper of the "
            f"environment, and choose one of {', '.join(known)}."
        )
    check_choice("policy", name, known)


def warn_about_box(action_space: spaces.Box) -> None:
    """
    Warn of boxes in which a policy on [-1, 1] rarely does what is meant.

    :param action_space: A checked Box.
    """
    low, high = np.asarray(action_space.low, dtype=np.float64), np.asarray(action_space.high, dtype=np.float64)
    if ((high - low) > WIDE_BOX).any():
        warnings.warn(
            f"The action box is up to {(high - low).max():g} wide: [-1, 1] is mapped onto all of it, so that random "
            "actions are huge. Rescale it to the range that the actuators use.",
            stacklevel=2,
        )
    lopsided = np.maximum(np.abs(low), np.abs(high)) > LOPSIDED_BOX * np.minimum(np.abs(low), np.abs(high))
    if (lopsided & (low < 0) & (high > 0)).any():
        warnings.warn(
            "The action box is lopsided: an action of 0 lies close to one end of it, while the policy starts at the "
            "middle. Rescale it if 0 is the resting position.",
            stacklevel=2,
        )

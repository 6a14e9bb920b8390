"""Observations that are arrays, or dicts of them."""

from collections.abc import Callable
from typing import Any


def each_array(function: Callable[..., Any], *observations: Any) -> Any:
    """
    :param function: Of arrays or tensors
    :param observations: Of one space
    :return: The function of them, or of those of each key where they are dicts
    """
    if isinstance(observations[0], dict):
        return {key: function(*(one[key] for one in observations)) for key in observations[0]}
    return function(*observations)

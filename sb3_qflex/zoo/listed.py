"""Wrappers and callbacks as RL Zoo's hyperparameters name them."""

from collections.abc import Sequence
from typing import Any

Listed = Sequence[tuple[str, dict[str, Any]]]
REPEAT, BONUS = "ActionRepeat", "AliveBonus"


def as_list(given: Any) -> list[Any]:
    """
    :param given: ``env_wrapper`` or ``callback`` of a run: None, one, or a sequence of them
    :return: each as it is
    """
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given] if given else []


def listed(given: Any) -> list[tuple[str, dict[str, Any]]]:
    """
    :param given: a name, a dict of one name, or a list of these
    :return: names and arguments
    """
    return [
        (one, {}) if isinstance(one, str) else (next(iter(one)), dict(next(iter(one.values()))))
        for one in as_list(given)
    ]


def last_part(name: str) -> str:
    """The class in a dotted path."""
    return name.rpartition(".")[2]


def without(names: Sequence[str], wrappers: Any) -> list[Any]:
    """
    :param names: of classes
    :param wrappers: what :func:`as_list` takes
    :return: all but those
    """
    known = as_list(wrappers)
    return [one for one in known if not (isinstance(one, str | dict) and last_part(listed(one)[0][0]) in names)]

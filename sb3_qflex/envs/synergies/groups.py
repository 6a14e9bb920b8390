"""What groups of actuators may be, and the ones that were found here."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Groups = list[list[int]]
#: What users may give: indices, the name of a preset, or a file of ``sb3-qflex synergies``.
GivenGroups = Sequence[Sequence[int]] | str | Path

_PRESETS = Path(__file__).parent / "presets"
_SHOWN = 5


def preset_names() -> list[str]:
    """Names of the groups that come with this package."""
    return sorted(path.stem for path in _PRESETS.glob("*.json"))


def load_groups(groups: GivenGroups | None, n_actuators: int) -> Groups:
    """
    Groups as lists, checked: together they hold each actuator exactly once.

    :param groups: Lists of indices from 0, the name of a preset, a JSON file that ``sb3-qflex synergies`` wrote, or
        None for every actuator by itself
    :param n_actuators: \\|A\\|
    :return: One list for each group, in the order given
    :raises ValueError: If an actuator is missing, twice there or out of range, the groups are of another number of
        actuators, or there is no such preset or file
    """
    if groups is None:
        return [[index] for index in range(n_actuators)]
    if isinstance(groups, (str, Path)):
        found, source = read_groups(str(groups)), f"groups={str(groups)!r}"
    else:
        found, source = groups, "groups"
    lists = _as_lists(found, source)
    _check_cover(lists, n_actuators, source)
    return lists


def read_groups(name: str) -> Any:
    """
    :param name: Of a preset, or a file
    :return: Its groups, unchecked
    :raises ValueError: If there is no such thing
    """
    path = _PRESETS / f"{name}.json"
    if name.endswith(".json"):
        path = Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"groups={name!r} is neither a file nor one of the presets. {_advice()}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))["groups"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"groups={name!r} is no file of `sb3-qflex synergies`, which has the key 'groups': {error!r}."
        ) from error


def _as_lists(groups: Any, source: str) -> Groups:
    try:
        lists = [[_index(index) for index in group] for group in groups]
    except TypeError as error:
        raise ValueError(f"{source} must be lists of whole numbers, not {groups!r:.100}. {_advice()}") from error
    if not all(lists):
        raise ValueError(f"{source} has a group without actuators: leave it out.")
    return lists


def _index(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise TypeError(f"{value!r} is no index")
    return int(value)


def _check_cover(groups: Groups, n_actuators: int, source: str) -> None:
    counts = Counter(index for group in groups for index in group)
    faults = {
        "out of range": [index for index in counts if not 0 <= index < n_actuators],
        "more than once": [index for index, count in counts.items() if count > 1],
        "missing": [index for index in range(n_actuators) if index not in counts],
    }
    told = ", ".join(f"{fault}: {_few(sorted(found))}" for fault, found in faults.items() if found)
    if told:
        raise ValueError(
            f"{source} must hold each of the {n_actuators} actuators, 0 to {n_actuators - 1}, exactly once; {told}. "
            f"{_advice()}"
        )


def _few(found: list[int]) -> str:
    more = len(found) - _SHOWN
    return ", ".join(map(str, found[:_SHOWN])) + (f" and {more} more" if more > 0 else "")


def _advice() -> str:
    return (
        f"Give lists such as [[0, 2], [1]], a preset ({', '.join(preset_names())}), or the JSON file that `sb3-qflex "
        "synergies ENV -k K` writes for this environment."
    )

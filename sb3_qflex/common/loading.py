"""Which arguments of ``load`` a saved model takes: those that it has itself are its own."""

import io
import json
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

from sb3_qflex.common.options import Option

# What RepeatUntil changes when it ends the repeat.
_OF_HELD_ACTIONS = ("gamma", "gradient_steps", "train_freq")


def plain_attributes(file: io.BufferedIOBase) -> dict[str, Any]:
    """
    Attributes of a saved model that JSON holds as they are; tuples are lists.

    :param file: Open; it stays where it is
    """
    start = file.tell()
    with zipfile.ZipFile(file) as archive:
        data = json.loads(archive.read("data"))
    file.seek(start)
    return {name: value for name, value in data.items() if not (isinstance(value, dict) and ":serialized:" in value)}


def arguments_for_file(
    algorithm: str,
    given: Mapping[str, Any],
    saved: Mapping[str, Any],
    of_file: Iterable[str],
    known: Mapping[str, Option],
) -> dict[str, Any]:
    """
    :param algorithm: Its name
    :param given: Arguments of ``load``
    :param saved: :func:`plain_attributes` of the file
    :param of_file: Those that say what networks the file has: the same may be given, as a file of hyperparameters does
    :param known: Options of the algorithm
    :return: What of the arguments changes the model; with a warning where ``RepeatUntil`` has set what was given
    :raises ValueError: For networks that are others in the file
    """
    taken = dict(given)
    for name in [name for name in of_file if name in given]:
        value = taken.pop(name)
        if name not in saved or not _equal_in_json(value, saved[name]):
            starts_anew = name in known and known[name].changed is not None
            way = "assign it to the loaded model, which starts them anew" if starts_anew else "make a new model"
            raise ValueError(
                f"{algorithm}.load cannot take {name}, which says what networks there are, and those lie in the file. "
                f"Leave it out, or {way}."
            )
    left = [name for name in _OF_HELD_ACTIONS if name in taken and saved.get("repeat_ended_at") is not None]
    if left:
        warnings.warn(
            f"{', '.join(left)} stay as they are in the file, where RepeatUntil has set them for single steps; assign "
            "them to the loaded model to change them.",
            stacklevel=3,
        )
    return {name: value for name, value in taken.items() if name not in left}


def _equal_in_json(value: Any, saved: Any) -> bool:
    return (list(value) if isinstance(value, tuple) else value) == saved

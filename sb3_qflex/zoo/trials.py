"""Trials of ``rl_zoo3 train -optimize``: drawn values are laid over the entry's, and a trial asked for is loaded.

RL Zoo replaces the entry's ``policy_kwargs`` by what a trial draws for them. Samplers and converters that went through
:func:`merging` lay the one over the other instead, while :func:`over` says what the entry is.
"""

import copy
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import Any

from sb3_qflex.zoo.algorithms import Tuning, resolve

_TRIAL = ("--storage", "--study-name", "--trial-id")
_ENTRY: ContextVar[Mapping[str, Any]] = ContextVar("entry")


@contextmanager
def over(entry: Mapping[str, Any]) -> Iterator[None]:
    """Inside, the entry (as Python objects) lies below what is drawn."""
    token = _ENTRY.set(entry)
    try:
        yield
    finally:
        _ENTRY.reset(token)


def merging(make: Tuning | str) -> Tuning:
    """A sampler or converter, imported when it is called, with the keywords of the entry where it gives keywords."""

    def merged(*args: Any) -> dict[str, Any]:
        drawn, entry = resolve(make)(*args), _ENTRY.get({})
        for key, value in drawn.items():
            if isinstance(value, Mapping):
                below = entry.get(key) or {}
                # A word names a preset, which may have changes beside it: dep.
                drawn[key] = {**({"preset": below} if isinstance(below, str) else below), **value}
        return drawn

    return merged


def searching(objective: Callable[..., float], self: Any, trial: Any) -> float:
    """Around ``ExperimentManager.objective``."""
    with over(self._hyperparams):
        return objective(self, trial)


def check_trial(experiment: Any) -> None:
    """A ValueError if a trial is asked for in part, where RL Zoo trains the entry without a word."""
    given = {option: getattr(experiment, option[2:].replace("-", "_")) for option in _TRIAL}
    if experiment.optimize_hyperparameters or all(value is None for value in given.values()) or all(given.values()):
        return
    hint = "RL Zoo takes a trial of a study by --storage, --study-name and --trial-id together"
    if experiment.trial_id == 0:
        hint = "RL Zoo takes --trial-id 0 for none: in a study of N trials, --trial-id -N means the same one"
    missing = ", ".join(name for name, value in given.items() if not value)
    raise ValueError(f"{missing}: not given, so that no trial would be loaded and the entry be trained. {hint}.")


def entry_below(read_hyperparameters: Callable[..., Any], experiment: Any) -> dict[str, Any]:
    """The entry that a trial is laid over, empty if no trial is to be loaded."""
    if not (experiment.storage and experiment.study_name and experiment.trial_id):
        return {}
    without = copy.copy(experiment)
    without.study_name = None
    with redirect_stdout(io.StringIO()):  # it is read, and printed, once more with the trial
        return dict(read_hyperparameters(without)[0])

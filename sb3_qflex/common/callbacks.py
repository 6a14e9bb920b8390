"""What there is in the callback that ``learn`` was given."""

from collections.abc import Mapping, Sequence
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback, EventCallback

from sb3_qflex.common.validation import UnsupportedError

#: Attributes of SB3's EvalCallback that evaluations change.
_EVALUATIONS = (
    "best_mean_reward", "last_mean_reward",
    "evaluations_timesteps", "evaluations_results", "evaluations_length", "evaluations_successes",
)  # fmt: skip


def all_callbacks(callback: BaseCallback) -> list[BaseCallback]:
    """The callbacks in what ``learn`` was given, as its locals have it, with those in lists and behind events."""
    if isinstance(callback, CallbackList):
        return [one for inner in callback.callbacks for one in all_callbacks(inner)]
    behind = callback.callback if isinstance(callback, EventCallback) else None
    return [callback, *([] if behind is None else all_callbacks(behind))]


def check_called_at_rollouts(callback: BaseCallback, given: BaseCallback) -> None:
    """
    :param callback: One that acts between rollouts
    :param given: What ``learn`` was given, as its locals have it
    :raises UnsupportedError: If it is behind an event, which tells it of steps alone
    """
    for event in all_callbacks(given):
        behind = event.callback if isinstance(event, EventCallback) else None
        if behind is not None and any(one is callback for one in all_callbacks(behind)):
            raise UnsupportedError(
                f"{type(callback).__name__} is behind {type(event).__name__}, which does not tell it of rollouts: it "
                "would do nothing. Pass it to learn() itself, in a list beside the other."
            )


def evaluation_state(callback: EvalCallback) -> dict[str, Any]:
    """What an EvalCallback has found so far, and its best: by name, attributes to put back into another one."""
    return {name: getattr(callback, name) for name in _EVALUATIONS}


def evaluations_in(callback: BaseCallback) -> list[dict[str, Any]]:
    """Of each EvalCallback in what ``learn`` was given: where it writes, and what it has found so far."""
    return [
        {"writes": _writes(one), "attributes": {"n_calls": one.n_calls, **evaluation_state(one)}}
        for one in all_callbacks(callback)
        if isinstance(one, EvalCallback)
    ]


def put_back_evaluations(callback: BaseCallback, saved: Sequence[Mapping[str, Any]]) -> None:
    """
    Let EvalCallbacks go on from what those had found that wrote to the same files, rather than overwrite it.

    :param callback: What ``learn`` was given.
    :param saved: What :func:`evaluations_in` gave.
    """
    for one in all_callbacks(callback):
        if isinstance(one, EvalCallback):
            found = (state["attributes"] for state in saved if state["writes"] == _writes(one))
            vars(one).update(next(found, {}))


def _writes(callback: EvalCallback) -> tuple[str | None, str | None]:
    return callback.best_model_save_path, callback.log_path

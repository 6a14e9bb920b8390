"""What there is in the callback that ``learn`` was given."""

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EventCallback


def all_callbacks(callback: BaseCallback) -> list[BaseCallback]:
    """The callbacks in what ``learn`` was given, as its locals have it, with those in lists and behind events."""
    if isinstance(callback, CallbackList):
        return [one for inner in callback.callbacks for one in all_callbacks(inner)]
    behind = callback.callback if isinstance(callback, EventCallback) else None
    return [callback, *([] if behind is None else all_callbacks(behind))]

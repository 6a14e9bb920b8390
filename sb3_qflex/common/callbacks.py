"""What there is in the callback that ``learn`` was given."""

from stable_baselines3.common.callbacks import BaseCallback, CallbackList


def all_callbacks(callback: BaseCallback) -> list[BaseCallback]:
    """The callbacks in what ``learn`` was given, as its locals have it."""
    return callback.callbacks if isinstance(callback, CallbackList) else [callback]

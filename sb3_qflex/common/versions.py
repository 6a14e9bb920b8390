"""Versions of what a model or a measurement depends on, and what to say when a saved model's are others."""

import functools
import platform
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from sb3_qflex.common.version import VERSION

_PACKAGES = ("torch", "numpy", "stable-baselines3", "sb3-contrib", "gymnasium", "myosuite", "mujoco")
_POLICY_PACKAGES = ("stable_baselines3", "torch", "numpy", "gymnasium")


class VersionWarning(UserWarning):
    """A model was saved under other versions."""


def describe_versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that results depend on; absent ones left out."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    return {"Python": platform.python_version(), "sb3-qflex": VERSION, **_installed(_PACKAGES)}


def policy_versions(*more: str) -> dict[str, str]:
    """Versions that a file of a policy records, by its own names, and those of more distributions where installed."""
    return {"sb3_qflex": VERSION, **_installed((*_POLICY_PACKAGES, *more))}


def _installed(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def differences(saved: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """
    What differs in the first two numbers. A third number is for corrections, and its changes are meant to change
    nothing; packages that one side lacks (a simulator, say, where a model only predicts) cannot disagree.

    :param saved: Versions by name
    :param present: Versions by name
    :return: Such as "torch 2.6 (now 2.13)"
    """
    return [
        f"{name} {then} (now {present[name]})"
        for name, then in saved.items()
        if name in present and _release(then) != _release(present[name])
    ]


def warn_about_differences(saved: Mapping[str, str]) -> None:
    """Warn if a saved model's versions, by name, differ from those here."""
    others = differences(saved, describe_versions())
    if others:
        warnings.warn(
            f"This model was saved under other versions: {', '.join(others)}. If it does not load, or does not act as "
            "it did, install those.",
            VersionWarning,
            stacklevel=5,
        )


def _release(text: str) -> list[str]:
    return text.split("+")[0].split(".")[:2]

"""Versions of what a model or a measurement depends on."""

import platform
from importlib.metadata import PackageNotFoundError, version

from sb3_qflex import __version__

_PACKAGES = ("torch", "numpy", "stable-baselines3", "sb3-contrib", "gymnasium", "myosuite", "mujoco")


def describe_versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that results depend on; absent ones left out."""
    versions = {"Python": platform.python_version(), "sb3-qflex": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions

"""Versions that a file records."""

from importlib.metadata import PackageNotFoundError, version

import sb3_qflex

_PACKAGES = ("stable_baselines3", "torch", "numpy", "gymnasium")


def versions(*more: str) -> dict[str, str]:
    """
    Versions of this package and of those that a policy depends on.

    :param more: Further distributions; those not installed are left out.
    """
    found = {"sb3_qflex": sb3_qflex.__version__}
    for name in (*_PACKAGES, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

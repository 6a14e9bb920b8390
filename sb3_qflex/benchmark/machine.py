"""What the figures were measured on and with."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sb3_qflex import __version__

_PACKAGES = ("torch", "numpy", "stable-baselines3", "sb3-contrib", "gymnasium", "myosuite", "mujoco")


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine(threads: int) -> dict[str, str]:
    """
    Processor, cores, memory, operating system, and how busy the machine was at this moment.

    :param threads: Threads of torch.
    """
    load = f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "processor": _processor(),
        "cores": str(available_cores()),
        "threads of torch": str(threads),
        "memory": _memory(),
        "system": platform.platform(),
        "load average at the start": load,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
    except (AttributeError, OSError, ValueError):
        return "unknown"


def describe_versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that the figures depend on; absent ones left out."""
    versions = {"Python": platform.python_version(), "sb3-qflex": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions

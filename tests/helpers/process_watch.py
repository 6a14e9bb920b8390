"""Which processes run and which blocks of shared memory exist, for tests of what is left behind."""

import os
import sys
import time
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")


def segments() -> set[str]:
    # Semaphores of other programs come and go; blocks of memory are what a VecEnv could leave.
    return {path.name for path in SHARED_MEMORY.glob("*") if not path.name.startswith("sem.")}


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def wait_until_gone(pids: list[int], seconds: float = 20.0) -> list[int]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(is_running, pids)):
        time.sleep(0.05)
    return [pid for pid in pids if is_running(pid)]


def mapped_blocks() -> int:
    """Blocks of shared memory that this process has mapped, named or not."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return sum("memfd:" in line or "/dev/shm/" in line for line in maps)


def environment_of_children() -> dict[str, str]:
    """In which a Python process finds what this one finds, from the tree or installed."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

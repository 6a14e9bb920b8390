"""Become a command that dies with the process that started it: ``python child.py PARENT_PID COMMAND...``.

Run as a file, so it imports the standard library only.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGKILL at the parent's death (Linux only), then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(f"the runner, process {parent}, is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

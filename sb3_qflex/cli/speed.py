"""``sb3-qflex speed``: how fast QFlex is on this machine."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from sb3_qflex.cli.arguments import positive, told
from sb3_qflex.common.machine import available_cores
from sb3_qflex.speed.rows import BY_DEFAULT, ON_CUDA, ROWS


def main(prog: str, argv: Sequence[str]) -> None:
    """Measure, print the table and write the files."""
    parser = argparse.ArgumentParser(prog, description="Measure the speed of QFlex on this machine.")
    add = parser.add_argument
    folder = "folder for the files; own ones of a former run are replaced (default: %(default)s)"
    add("--out", type=Path, default=Path("docs", "speed"), help=folder)
    add("--quick", action="store_true", help="under a minute, with one size")
    groups, extra = ", ".join(ROWS), ", ".join(sorted(set(ROWS) - set(BY_DEFAULT)))
    which = f"which of {groups} (default: all of the device but {extra})"
    add("--rows", nargs="+", choices=ROWS, metavar="NAME", help=which)
    where = f"of networks and batches; cuda has the rows {', '.join(ON_CUDA)}, in under five minutes (default: cpu)"
    add("--device", choices=("cpu", "cuda"), default="cpu", help=where)
    cores = available_cores()
    add("--threads", type=positive, default=cores, help="of torch (default: cores available, %(default)s)")
    arguments = parser.parse_args(argv)
    from sb3_qflex.speed.speed import run_speed

    with told(OSError, ValueError):
        run_speed(arguments, f"{prog} {shlex.join(argv)}".strip())

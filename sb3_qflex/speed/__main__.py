"""``python -m sb3_qflex.benchmark COMMAND``; each command has ``--help``."""

import sys
from collections.abc import Callable, Sequence

from sb3_qflex.speed.speed import run_speed
from sb3_qflex.studies.command import run_study
from sb3_qflex.studies.report_command import report_study

COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {"speed": run_speed, "run": run_study, "report": report_study}


def main(argv: Sequence[str] | None = None) -> None:
    """
    Run one command.

    :param argv: The command and its arguments, those of the process by default.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{__doc__}\nCommands: {', '.join(COMMANDS)}.")
        return
    if argv[0] not in COMMANDS:
        sys.exit(f"Unknown command {argv[0]!r}. Known: {', '.join(COMMANDS)}.")
    COMMANDS[argv[0]](argv[1:])


if __name__ == "__main__":
    main()

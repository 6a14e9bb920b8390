"""``sb3-qflex curve RUN_FOLDER``: one run's learning curve."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(prog: str, argv: Sequence[str]) -> None:
    """Draw the learning curve of a run folder into it and print where its files are."""
    parser = argparse.ArgumentParser(prog, description="Draw one run's learning curve into its folder.")
    parser.add_argument("run_dir", type=Path, help="a run folder of RL Zoo, e.g. logs/qflex/Pendulum-v1_1")
    folder = parser.parse_args(argv).run_dir
    from stable_baselines3.common.monitor import LoadMonitorResultsError

    from sb3_qflex.zoo.curves import draw, load_run

    try:
        run = load_run(folder)
    except (LoadMonitorResultsError, FileNotFoundError) as error:
        sys.exit(f"{folder} is no run folder of RL Zoo: {error}")
    picture = draw([run], run.label, folder / "learning_curve.png")
    found = {"Model": [*folder.glob("*-v*.zip")], "Config": [*folder.glob("*/config.yml")], "Learning curve": [picture]}
    for name, paths in found.items():
        print(f"{name}: {', '.join(map(str, paths)) or 'none'}")

"""``sb3-qflex run-report RUN_FOLDER``: one HTML page about a training run."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sb3_qflex.cli.arguments import positive, told

#: In the page's head, by which a page that may be replaced is known.
_MARK = "<code>sb3-qflex run-report</code>"


def main(prog: str, argv: Sequence[str]) -> None:
    """Write the page and print where it is. A former page is replaced, another file is not."""
    parser = argparse.ArgumentParser(prog, description="Write one HTML page about a training run.")
    add = parser.add_argument
    add("run_folder", type=Path, help="run folder of RL Zoo, such as logs/qflex/Pendulum-v1_1")
    add("--out", type=Path, metavar="FILE.html", help="default: report.html in the run folder")
    add("--tensorboard", type=Path, metavar="FOLDER", help="event files of the run, if it has no progress.csv")
    add("--no-model", action="store_true", help="leave out what the trained policy has to be played for")
    add("--episodes", type=positive, default=5, help="played for the energy (default: %(default)s)")
    add("--states", type=positive, default=32, help="states for the correlation (default: %(default)s)")
    add("--seed", type=int, default=0, help="of these (default: %(default)s)")
    args = parser.parse_args(argv)
    out = args.out or args.run_folder / "report.html"
    if out.is_dir():
        parser.error(f"{out} is a folder: give a file, such as {out / 'report.html'}")
    if out.exists() and _MARK not in out.read_text(errors="replace"):
        parser.error(f"{out} was not written by this command: move it away, or choose another --out")
    from sb3_qflex.analysis.trained import ModelError
    from sb3_qflex.run_report.files import read_run
    from sb3_qflex.run_report.model_figures import look_at
    from sb3_qflex.run_report.page import write_page

    with told(ValueError, ImportError):
        run = read_run(args.run_folder, args.tensorboard)
        look = None
        if run.models and not args.no_model:
            try:
                look = look_at(run.models[0], args.episodes, args.states, args.seed)
            except ModelError as error:
                print(f"The page goes without what the trained policy would be played for: {error}")
        page = write_page(run, look, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    print(f"Report: {out} ({len(page) / 1000:.0f} kB)")

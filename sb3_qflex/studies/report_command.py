"""``python -m sb3_qflex.benchmark report STUDY``: from runs to small data, and from those alone to the report."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sb3_qflex.common.outputs import OutputFolder
from sb3_qflex.studies.definition import Study, StudyError, load_study, packaged_studies
from sb3_qflex.studies.extraction import EVALUATIONS, RUNS, SETTINGS, TRAINING, extract
from sb3_qflex.studies.joining import join
from sb3_qflex.studies.plan import plan_runs
from sb3_qflex.studies.results import read_results
from sb3_qflex.studies.run_folder import RunFolder

REPORT = "report.md"
_DATA = (RUNS, EVALUATIONS, TRAINING, SETTINGS)


def report_study(argv: Sequence[str]) -> None:
    """
    Write the report of a study.

    :param argv: arguments, see ``--help``
    """
    arguments = _parser().parse_args(argv)
    try:
        study = load_study(arguments.study)
        out = arguments.out or Path("docs", "results", study.name)
        written = write_report(study, out, arguments.runs)
    except (StudyError, OSError) as error:
        sys.exit(str(error))
    print("Wrote", *written)


def write_report(study: Study, out: Path, runs: Path | None = None) -> list[Path]:
    """
    :param study: the study
    :param out: folder of the small data and the report
    :param runs: folder of runs to add to the data in ``out``; None to use that data alone
    :return: the files written
    :raises StudyError: if there is no data, or the runs do not belong together
    :raises ForeignFileError: if ``out`` has files that are not the report's
    """
    data = _committed(out, study) if runs is None else _extracted(study, out, runs)
    results = read_results(study, data)
    if not results.runs:
        raise StudyError(f"no run of {study.name} is finished: python -m sb3_qflex.benchmark run {study.name}")
    # rliable is an extra, which running a study does not need.
    from sb3_qflex.studies.pictures import draw_study
    from sb3_qflex.studies.tables import to_markdown

    pictures = draw_study(results)
    markdown = to_markdown(results, {task: name for task, (name, _) in pictures.items()})
    files = {**data, REPORT: markdown.encode(), **dict(pictures.values())}
    return OutputFolder(out, "report").write(files, {"study": study.name})


def _committed(out: Path, study: Study) -> dict[str, bytes]:
    missing = [name for name in _DATA if not (out / name).is_file()]
    if missing:
        raise StudyError(
            f"{out} has no {', '.join(missing)}: give the folder of finished runs, --runs runs/{study.name}"
        )
    return {name: (out / name).read_bytes() for name in _DATA}


def _extracted(study: Study, out: Path, runs: Path) -> dict[str, bytes]:
    if not runs.is_dir():
        raise StudyError(f"{runs} is no folder of runs: python -m sb3_qflex.benchmark run {study.name} --out {runs}")
    data = extract([RunFolder(plan, runs.resolve()) for plan in plan_runs(study)])
    return join(_committed(out, study), data) if (out / RUNS).is_file() else data


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m sb3_qflex.benchmark report",
        description="Tables and figures of a study, as far as its runs are finished. Trains nothing.",
    )
    parser.add_argument("study", help=f"one of {', '.join(packaged_studies())}, or the path of a YAML file")
    parser.add_argument("--runs", type=Path, help="folder of runs to add to the data in --out (default: none)")
    parser.add_argument("--out", type=Path, help="folder of data and report (default: docs/results/<study>)")
    return parser

"""From runs to small data, and from those alone to the report."""

from pathlib import Path

from sb3_qflex.common.outputs import OutputFolder
from sb3_qflex.studies.definition import Study, StudyError
from sb3_qflex.studies.extraction import EVALUATIONS, RUNS, SETTINGS, TRAINING, extract
from sb3_qflex.studies.plan import plan_runs
from sb3_qflex.studies.results import join, read_results
from sb3_qflex.studies.run_folder import RunFolder

REPORT = "report.md"
_DATA = (RUNS, EVALUATIONS, TRAINING, SETTINGS)


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
        raise StudyError(f"no run of {study.name} is finished: sb3-qflex study run {study.argument}")
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
        raise StudyError(f"{runs} is no folder of runs: sb3-qflex study run {study.argument} --out {runs}")
    data = extract([RunFolder(plan, runs.resolve()) for plan in plan_runs(study)])
    return join(_committed(out, study), data) if (out / RUNS).is_file() else data

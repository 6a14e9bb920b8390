"""The report of a study as Markdown."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np

from sb3_qflex.speed.loop_timer import PARTS
from sb3_qflex.speed.report import format_number, markdown_table
from sb3_qflex.studies.definition import Study, Task
from sb3_qflex.studies.extraction import EVALUATIONS, RUNS, SETTINGS, TRAINING
from sb3_qflex.studies.results import Results, RunResult, by_system
from sb3_qflex.studies.statistics import FEWEST_RUNS, Estimate, difference, improvement, interquartile_mean

_SPLIT = (*PARTS[:-1], "evaluation", "other")
_READING = (
    "Final returns are means over the last tenth of the budget: *evaluation* of the deterministic policy, *training*\n"
    "of the episodes with exploration. Over the seeds stands the interquartile mean, in brackets its 95 % stratified\n"
    f"bootstrap interval, which needs at least {FEWEST_RUNS} seeds. Thin lines are single runs. Times are those of\n"
    "training without evaluations, on a machine that was shared as the last table says; CPU minutes are those of the\n"
    "training process with evaluations, whatever else the machine did."
)

_SYSTEMS = (
    "Runs were made under {} systems, numbered below, so maybe on machines of different speed.\n"
    "Times are given for each of them, its number in brackets; curves against time are of the runs under one alone."
)


def to_markdown(results: Results, figures: Mapping[str, str]) -> str:
    """
    :param results: what there is of the study
    :param figures: file names by task, and under "" that of the figure over all tasks
    :return: the report
    """
    study, systems = results.study, results.systems
    parts = [f"# {study.title}", *([study.text] if study.text else [])]
    parts += [_how_made(study), _READING]
    if systems:
        parts.append(_SYSTEMS.format(len(systems)))
    if results.missing:
        total = len(results.missing) + len(results.runs)
        parts.append(f"**{len(results.missing)} of {total} runs are missing:** {', '.join(results.missing)}.")
    if "" in figures:
        parts += [f"## Return against the number of actions\n\n![{study.title}]({figures['']})"]
        parts += [_seeds_of(results), _scale_table(results)]
    for task in study.tasks:
        if runs := results.of_task(task):
            parts += _task_section(task, runs, figures[task.name], systems)
    parts += ["## Made with", _made_with(results.runs, systems)]
    return "\n\n".join(parts) + "\n"


def _how_made(study: Study) -> str:
    return (
        f"{study.budget:,} environment steps each. Runs and report:\n\n```bash\n"
        f"sb3-qflex study run {study.argument}\n"
        f"sb3-qflex study report {study.argument} --runs runs/{study.name}\n```\n\n"
        f"Tables and figures are made from [{RUNS}]({RUNS}), [{EVALUATIONS}]({EVALUATIONS}) and\n"
        f"[{TRAINING}]({TRAINING}) alone; [{SETTINGS}]({SETTINGS}) has all settings and commands."
    )


def _task_section(
    task: Task, runs: Mapping[str, list[RunResult]], figure: str, systems: Mapping[str, str]
) -> list[str]:
    actions = f", {task.actions} actions" if task.actions is not None else ""
    parts = [f"## {task.name}: `{task.env}`{actions}", f"![Learning curves of {task.name}]({figure})", _seeds(runs)]
    parts.append(_result_table(task, runs, systems))
    if any(math.isnan(run.final_training()) for found in runs.values() for run in found):
        # Environments that started together and never end early all end in the same vector step.
        parts.append("Where *training* is empty, no training episode ended in the last tenth of the budget.")
    if len(runs) > 1:
        parts.append(_improvement_table(runs))
    if task.paper:
        parts.append(f"**What the paper's figures show.** {task.paper.strip()}")
    parts += ["Every run:", _run_table(runs, systems)]
    return [*parts, "Milliseconds of an environment step, by part:", _split(runs, systems)]


def _seeds(runs: Mapping[str, list[RunResult]]) -> str:
    return "Seeds: " + ", ".join(f"{label} {len(found)}" for label, found in runs.items()) + "."


def _seeds_of(results: Results) -> str:
    seeds = {task.name: results.of_task(task) for task in results.study.tasks}
    return " ".join(f"{name}: {_seeds(runs)}" for name, runs in seeds.items() if runs)


def _result_table(task: Task, runs: Mapping[str, list[RunResult]], systems: Mapping[str, str]) -> str:
    columns: dict[str, Callable[[list[RunResult]], str]] = {
        "seeds": lambda found: str(len(found)),
        "evaluation": lambda found: _middle(run.final("return mean") for run in found),
        "training": lambda found: _middle(run.final_training() for run in found),
        "area under the curve": lambda found: _middle(run.area() for run in found),
    }
    if not any(np.isnan(run.evaluations["success rate"]).all() for found in runs.values() for run in found):
        columns["success"] = lambda found: _middle(run.final("success rate") for run in found)
    if task.threshold is not None:
        columns[f"steps to {task.threshold:g}"] = partial(_steps_to, threshold=task.threshold)
    columns["updates"] = lambda found: f"{np.mean([run.number('updates') for run in found]):.0f}"
    columns["minutes"] = lambda found: ", ".join(
        format_number(float(np.mean([_minutes(run) for run in alike]))) + _number_of(system, systems)
        for system, alike in by_system(found).items()
    )
    rows = [[label, *(column(found) for column in columns.values())] for label, found in runs.items()]
    return markdown_table(["", *columns], rows)


def _number_of(system: str, systems: Mapping[str, str]) -> str:
    return f" ({systems[system]})" if systems else ""


def _minutes(run: RunResult) -> float:
    return (run.number("training seconds") - run.number("evaluation seconds")) / 60


def _steps_to(runs: Sequence[RunResult], threshold: float) -> str:
    steps = [run.steps_to(threshold) for run in runs]
    reached = sum(map(math.isfinite, steps))
    median = float(np.median(steps)) if reached > len(steps) / 2 else math.inf
    return f"{f'{median:,.0f}' if math.isfinite(median) else 'not reached'} ({reached} of {len(steps)} runs)"


def _improvement_table(runs: Mapping[str, list[RunResult]]) -> str:
    (first, ours), *others = ((label, [run.final("return mean") for run in found]) for label, found in runs.items())
    estimates = {f"probability that {first} ends above": improvement, "difference": difference}
    rows = [
        [other, f"{len(ours)} against {len(theirs)}", *(_estimate_text(of(ours, theirs)) for of in estimates.values())]
        for other, theirs in others
    ]
    return markdown_table([f"evaluation of {first} against", "seeds", *estimates], rows)


def _run_table(runs: Mapping[str, list[RunResult]], systems: Mapping[str, str]) -> str:
    header = ["", "seed", "evaluation", "training", "area", "success", "updates", "minutes", "CPU minutes", "starts"]
    rows = [
        [
            label,
            str(run.seed),
            _number(run.final("return mean")),
            _number(run.final_training()),
            _number(run.area()),
            _number(run.final("success rate")),
            run.facts["updates"],
            format_number(_minutes(run)),
            _number(run.number("cpu seconds") / 60),
            run.facts["starts"],
            *([systems[run.system]] if systems else []),
        ]
        for label, found in runs.items()
        for run in found
    ]
    return markdown_table([*header, "system"] if systems else header, rows)


def _split(runs: Mapping[str, list[RunResult]], systems: Mapping[str, str]) -> str:
    def cell(found: list[RunResult], part: str) -> str:
        seconds = [run.number(f"{part} seconds") / run.number("steps") for run in found]
        return format_number(1e3 * float(np.mean(seconds)))

    rows = [
        [label + _number_of(system, systems), *(cell(alike, part) for part in _SPLIT)]
        for label, found in runs.items()
        for system, alike in by_system(found).items()
    ]
    return markdown_table(["", *_SPLIT], rows)


def _scale_table(results: Results) -> str:
    labels = [contender.label for contender in results.study.contenders]
    rows = [
        [str(task.actions), *(_middle(run.final("return mean") for run in results.of(task, label)) for label in labels)]
        for task in results.study.tasks
    ]
    return markdown_table(["actions", *labels], rows)


def _made_with(runs: Sequence[RunResult], systems: Mapping[str, str]) -> str:
    def shown(fact: str, value: str) -> str:
        number = f"{systems[value]}: " if fact == "system" and systems else ""
        return number + (value or "unknown")

    facts = ("processor", "cores", "memory", "system", "runs at a time", "versions", "revision", "dirty")
    rows = [[fact, "; ".join(sorted({shown(fact, run.facts[fact]) for run in runs}))] for fact in facts]
    days = [run.facts["finished"].partition("T")[0] for run in runs]
    period = " to ".join(dict.fromkeys((min(days), max(days))))
    return markdown_table(["", ""], [["finished", period], *rows])


def _middle(scores: Iterable[float]) -> str:
    """The interquartile mean, empty without runs."""
    found = list(scores)
    return _estimate_text(interquartile_mean(found)) if found else ""


def _estimate_text(estimate: Estimate) -> str:
    """An estimate of one number, with its interval if there is one."""
    value = _number(float(estimate.value))
    if estimate.low is None or estimate.high is None or math.isnan(float(estimate.value)):
        return value
    return f"{value} [{_number(float(estimate.low))}, {_number(float(estimate.high))}]"


def _number(value: float) -> str:
    return "" if math.isnan(value) else format_number(value)

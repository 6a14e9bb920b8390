"""How update and flow target grow with |A| and N, and acting with K."""

from functools import partial

import numpy as np
import torch as th

from sb3_qflex.speed import workloads
from sb3_qflex.speed.flops import Problem, flow_target_flop, update_flop
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.rows.acting import policy_function
from sb3_qflex.speed.rows.flow_target import folded_task
from sb3_qflex.speed.settings import BATCH_SIZE, GUIDANCE_STEPS, Settings
from sb3_qflex.speed.timing import Task

_TEXT = f"""\
Observation size fixed; batch {BATCH_SIZE}. Times of one column were measured in turns with each other. With |A|: one
update and its flow target. With N (at |A| = 80): the flow target. With K (at |A| = 80): the policy function for 80
environments. The figure has the straight lines fitted to the medians by least squares."""

#: The two sizes that the report compares with the ratio of their useful work.
_SMALL, _LARGE = 80, 700
_N_ENVS = 80


def measure_growth(settings: Settings) -> Section:
    """:param settings: Sizes and durations."""
    section = Section("growth", "Growth", _TEXT)
    _measure_actions(section, settings)
    problem = Problem(settings.growth_obs_dim, _SMALL)
    buffer = workloads.filled_buffer(problem)
    steps = settings.growth_steps
    guided = {n: workloads.qflex(problem, buffer, guidance_steps=n) for n in steps}
    _add_series(section, "N", "flow target", [folded_task(guided[n].policy, str(n)) for n in steps], settings)
    flowing = {k: workloads.qflex(problem, buffer, flow_steps=k, guidance_steps=1) for k in steps}
    obs = th.randn(_N_ENVS, problem.obs_dim)
    tasks = [Task(str(k), policy_function(flowing[k].policy, obs)) for k in steps]
    _add_series(section, "K", "acting", tasks, settings)
    return section


def _measure_actions(section: Section, settings: Settings) -> None:
    problems = {n: Problem(settings.growth_obs_dim, n) for n in settings.growth_actions}
    models = {n: workloads.qflex(one, workloads.filled_buffer(one)) for n, one in problems.items()}
    updates = [Task(str(n), partial(model.train, 1, BATCH_SIZE)) for n, model in models.items()]
    ascents = [folded_task(model.policy, str(n)) for n, model in models.items()]
    for quantity, tasks, flop in (("update", updates, update_flop), ("flow target", ascents, flow_target_flop)):
        seconds = _add_series(section, "|A|", quantity, tasks, settings)
        if {_SMALL, _LARGE} <= problems.keys():
            counts = [flop(problems[n], BATCH_SIZE, GUIDANCE_STEPS) for n in (_LARGE, _SMALL)]
            measured = seconds[str(_LARGE)] / seconds[str(_SMALL)]
            case = f"|A| = {_LARGE} against {_SMALL}"
            section.add(case, f"{quantity}, time ratio", measured)
            section.add(case, f"{quantity}, FLOP ratio", counts[0] / counts[1])
            section.add(case, f"{quantity}, over FLOP ratio", measured * counts[1] / counts[0])


def _add_series(
    section: Section, parameter: str, quantity: str, tasks: list[Task], settings: Settings
) -> dict[str, np.ndarray]:
    """Time tasks named by the values of a parameter, and add the fitted line."""
    seconds = settings.time(tasks)
    for task in tasks:
        milliseconds = 1e3 * seconds[task.name]
        section.add(f"{parameter} = {task.name}", quantity, milliseconds, "ms", x=float(task.name))
    fit = fit_line([float(name) for name in seconds], [1e3 * float(np.median(one)) for one in seconds.values()])
    for name, value in zip(("intercept", "slope", "R2"), fit, strict=True):
        section.add(f"line in {parameter}", f"{quantity}, {name}", value, "" if name == "R2" else "ms")
    return seconds


def fit_line(x: list[float], y: list[float]) -> tuple[float, float, float]:
    """
    :param x: Abscissas, two different ones at least.
    :param y: Ordinates, not all equal.
    :return: Intercept and slope of the least-squares line, and share of the variance that it explains.
    """
    slope, intercept = np.polyfit(x, y, 1)
    residuals = np.asarray(y) - (intercept + slope * np.asarray(x))
    return float(intercept), float(slope), float(1.0 - residuals.var() / np.var(y))

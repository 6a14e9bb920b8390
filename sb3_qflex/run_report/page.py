"""The page: one HTML file with everything in it, which opens without a server, a network or scripts."""

import os
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sb3_qflex.common.version import VERSION
from sb3_qflex.run_report.figures import of_training
from sb3_qflex.run_report.files import RunFiles
from sb3_qflex.run_report.model_figures import OfModel
from sb3_qflex.speed.report import format_number
from sb3_qflex.zoo.curves import WINDOW


def numbers(run: RunFiles) -> dict[str, tuple[str, str]]:
    """The few numbers at the top of the page: (value, what it is of) by name; only what the run's files have."""
    curve = run.curve
    found = {}
    if len(curve.returns):
        found["Environment steps"] = (f"{curve.steps[-1]:,.0f}", f"{len(curve.returns):,} training episodes")
        last = curve.returns[-WINDOW:]
        found["Training return"] = (format_number(float(last.mean())), f"mean of the last {len(last)} episodes")
    if len(curve.eval_steps):
        means, spreads = curve.eval_returns.mean(axis=1), curve.eval_returns.std(axis=1)
        for name, at in (("Last evaluation", len(means) - 1), ("Best evaluation", int(means.argmax()))):
            of = f"over {curve.eval_returns.shape[1]} episodes, step {curve.eval_steps[at]:,}"
            found[name] = (format_number(float(means[at])), f"± {format_number(float(spreads[at]))} {of}")
    if run.eval_successes is not None:
        found["Success rate"] = (f"{run.eval_successes[-1]:.0%}", "last evaluation")
    if len(superiority := run.values("train/flow_superiority")[1]):
        found["Flow superiority"] = (
            format_number(float(superiority[-10:].mean())),
            "mean of the last 10 logged values",
        )
    if len(elapsed := run.values("time/time_elapsed")[1]):
        found["Training time"] = (f"{elapsed[-1] / 60:.1f} min", "until the last log")
    return found


def write_page(run: RunFiles, of_model: OfModel | None, out: Path) -> str:
    """
    :param run: the run
    :param of_model: what its model does; None to leave this out
    :param out: where the page will be, which links are relative to
    :return: the page as HTML
    """
    loader = FileSystemLoader(Path(__file__).parent)
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    last = {key: values[-1] for key in sorted(run.logged.columns) if len(values := run.values(key)[1])}
    return templates.get_template("page.html").render(
        run=run,
        numbers=numbers(run),
        pictures=of_training(run),
        of_model=of_model,
        last_values={key: format_number(float(value)) for key, value in last.items()},
        files=[Path(os.path.relpath(path, out.parent)).as_posix() for path in (*run.models, *run.videos)],
        version=VERSION,
    )

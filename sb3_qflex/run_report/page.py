"""The page: one HTML file with everything in it, which opens without a server, a network or scripts."""

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from sb3_qflex.common.version import VERSION
from sb3_qflex.run_report.figures import Picture, of_training
from sb3_qflex.run_report.files import RunFiles
from sb3_qflex.run_report.model_figures import OfModel
from sb3_qflex.speed.report import format_number
from sb3_qflex.zoo.curves import WINDOW

_STYLE = """
:root { color-scheme: light; --line: #d9dde3; --soft: #f5f6f8; --text: #1d2430; --dim: #5b6675; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 72rem; color: var(--text); background: #fff;
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere; }
h2 { margin: 2rem 0 .75rem; font-size: 1.15rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
p, figcaption { color: var(--dim); margin: .25rem 0; } figcaption { font-size: .85rem; }
figcaption b { color: var(--text); }
.numbers { margin: 0 0 1.25rem; display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); }
.numbers div { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; background: var(--soft); }
.numbers dt { font-size: .8rem; color: var(--dim); } .numbers dd { margin: 0; font-size: 1.2rem; font-weight: 600; }
.numbers small { display: block; font-weight: 400; font-size: .75rem; color: var(--dim); }
.figures { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; }
figure.wide { grid-column: 1 / -1; }
figure img { width: 100%; height: auto; display: block; }
.tables { display: grid; gap: 0 2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
th { font-weight: 500; color: var(--dim); width: 45%; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem; font-size: .85rem;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
@media (max-width: 30rem) { body { padding: .75rem; } }
"""


def numbers(run: RunFiles) -> dict[str, tuple[str, str]]:
    """
    The few numbers at the top of the page.

    :param run: the run
    :return: (value, what it is of) by name; only what the run's files have
    """
    curve = run.curve
    found = {}
    if len(curve.returns):
        found["Environment steps"] = (f"{curve.steps[-1]:,.0f}", f"{len(curve.returns):,} training episodes")
        last = curve.returns[-WINDOW:]
        found["Training return"] = (format_number(float(last.mean())), f"mean of the last {len(last)} episodes")
    if len(curve.eval_steps):
        means = curve.eval_returns.mean(axis=1)
        best = int(means.argmax())
        for name, at in (("Last evaluation", len(means) - 1), ("Best evaluation", best)):
            spread = format_number(float(curve.eval_returns[at].std()))
            found[name] = (
                format_number(float(means[at])),
                f"± {spread} over {curve.eval_returns.shape[1]} episodes, step {curve.eval_steps[at]:,}",
            )
    if run.eval_successes is not None:
        found["Success rate"] = (f"{run.eval_successes[-1]:.0%}", "last evaluation")
    for key, name, of in (
        ("train/flow_superiority", "Flow superiority", "mean of the last 10 logged values"),
        ("time/time_elapsed", "Training time", ""),
    ):
        values = run.values(key)[1]
        if len(values) and name == "Training time":
            found[name] = (f"{values[-1] / 60:.1f} min", "until the last log")
        elif len(values):
            found[name] = (format_number(float(np.mean(values[-10:]))), of)
    return found


def write_page(run: RunFiles, of_model: OfModel | None, out: Path) -> str:
    """
    :param run: the run
    :param of_model: what its model does; None to leave this out
    :param out: where the page will be, which links are relative to
    :return: the page as HTML
    """
    title = f"{run.algo} on {run.env_id}"
    parts = [
        f"<h1>{escape(title)}</h1><p>{escape(str(run.folder))}</p>",
        _numbers(numbers(run)),
        f"<h2>Training</h2>{_figures(of_training(run))}",
    ]
    if not run.logged_in:
        parts.append("<p>No losses and no flow superiority: the run kept neither progress.csv nor event files.</p>")
    if of_model is not None:
        tiles = _numbers({name.capitalize(): (format_number(value), "") for name, value in of_model.numbers.items()})
        parts.append(f"<h2>The policy in {escape(of_model.model)}</h2>{tiles}{_figures(of_model.pictures)}")
    parts += [
        '<div class="tables">',
        f"<section><h2>Hyperparameters</h2>{_table(run.hyperparams)}</section>",
        f"<section><h2>Last logged values</h2>{_table(_last_values(run))}</section>",
        f"<section><h2>Versions in training</h2>{_table(run.versions)}</section>",
        f"<section><h2>Files</h2>{_links(run, out)}</section>",
        "</div>",
        f"<h2>Command</h2><pre>{escape(run.command or 'not kept')}</pre>",
        f"<p>Written by sb3-qflex {escape(VERSION)}, <code>sb3-qflex run-report</code>.</p>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _numbers(found: Mapping[str, tuple[str, str]]) -> str:
    tiles = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(of)}</small></dd></div>"
        for name, (value, of) in found.items()
    )
    return f'<dl class="numbers">{"".join(tiles)}</dl>'


def _figures(pictures: Iterable[Picture]) -> str:
    figures = (
        f'<figure{" class=wide" * one.is_wide}><img src="{one.data}" alt="{escape(one.title)}">'
        f"<figcaption><b>{escape(one.title)}.</b> {escape(one.caption)}</figcaption></figure>"
        for one in pictures
    )
    return f'<div class="figures">{"".join(figures)}</div>'


def _table(values: Mapping[str, object]) -> str:
    rows = (f"<tr><th>{escape(str(key))}</th><td>{escape(str(value))}</td></tr>" for key, value in values.items())
    return f"<table>{''.join(rows)}</table>" if values else "<p>Not kept.</p>"


def _last_values(run: RunFiles) -> dict[str, str]:
    keys: Sequence[str] = sorted(run.logged.columns)
    return {key: format_number(float(values[-1])) for key in keys if len(values := run.values(key)[1])}


def _links(run: RunFiles, out: Path) -> str:
    files = [*run.models, *run.videos]
    names = (os.path.relpath(path, out.parent) for path in files)
    items = (f'<tr><td><a href="{escape(Path(name).as_posix())}">{escape(name)}</a></td></tr>' for name in names)
    return f"<table>{''.join(items)}</table>" if files else "<p>None.</p>"

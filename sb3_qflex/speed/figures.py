"""Figures of the report, drawn from sections that were measured."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sb3_qflex.speed.loop_timer import PARTS
from sb3_qflex.speed.measurement import Measurement, Section

#: What the bar charts show of a section, all of one unit.
_BARS = {
    "flow": ("plain", "folded"),
    "update": ("QFlex", "source only", "CrossQ", "SAC"),
    "acting": ("K = 20, policy", "K = 10, policy", "CrossQ, policy", "SAC, policy"),
    "latency": ("policy, p50", "predict, p50", "TorchScript, p50"),
    "memory": ("QFlex", "CrossQ", "SAC"),
}


def draw(section: Section) -> bytes | None:
    """The figure of a section as PNG; None where it has nothing to draw."""
    drawing = _DRAWINGS.get(section.name)
    if drawing is None or not section.measurements:
        return None
    png = io.BytesIO()
    drawing(section).savefig(png, format="png", dpi=150)
    return png.getvalue()


def _cases(section: Section) -> list[str]:
    return list(dict.fromkeys(one.case for one in section.measurements))


def _errors(found: Sequence[Measurement]) -> np.ndarray:
    """Distances of the quartiles to the median, shape (2, number of measurements)."""
    low, median, high = np.array([one.quartiles for one in found]).T
    return np.stack([median - low, high - median])


def _draw_bars(section: Section) -> Figure:
    cases, quantities = _cases(section), _BARS[section.name]
    figure = Figure(figsize=(max(6.0, 1.6 * len(cases)), 5), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(quantities)
    for number, quantity in enumerate(quantities):
        found = [section.find(case, quantity) for case in cases]
        positions = np.arange(len(cases)) + (number - (len(quantities) - 1) / 2) * width
        axes.bar(positions, [one.median for one in found], width, yerr=_errors(found), label=quantity, capsize=2)
    axes.set_xticks(range(len(cases)), cases, rotation=30, ha="right")
    axes.set(title=section.title, ylabel=found[0].unit, yscale="log")
    axes.legend()
    return figure


def _draw_growth(section: Section) -> Figure:
    series: dict[str, dict[str, list[Measurement]]] = {}
    for one in section.measurements:
        if one.x is not None:
            series.setdefault(one.case.partition(" = ")[0], {}).setdefault(one.quantity, []).append(one)
    figure = Figure(figsize=(5 * len(series), 4.5), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(series)))
    for axes, (parameter, quantities) in zip(panels, series.items(), strict=True):
        for number, (quantity, found) in enumerate(quantities.items()):
            _draw_line(axes, section, parameter, quantity, found, f"C{number}")
        axes.set(title=f"Growth with {parameter}", xlabel=parameter, ylabel="ms", ylim=(0, None))
        axes.legend()
    return figure


def _draw_line(
    axes: Axes, section: Section, parameter: str, quantity: str, found: list[Measurement], colour: str
) -> None:
    x = [one.x for one in found if one.x is not None]
    axes.errorbar(x, [one.median for one in found], _errors(found), fmt="o", color=colour, capsize=2)
    case = f"line in {parameter}"
    intercept = section.find(case, f"{quantity}, intercept").median
    slope = section.find(case, f"{quantity}, slope").median
    ends = np.array([0.0, max(x)])
    label = f"{quantity}: {intercept:.3g} + {slope:.3g} {parameter}"
    axes.plot(ends, intercept + slope * ends, color=colour, label=label)


def _draw_loop(section: Section) -> Figure:
    cases = _cases(section)
    figure = Figure(figsize=(10, 1.5 + 0.5 * len(cases)), layout="constrained")
    axes = figure.add_subplot()
    left = np.zeros(len(cases))
    for part in PARTS:
        widths = np.array([section.find(case, part).median for case in cases])
        axes.barh(cases, widths, left=left, label=part)
        left += widths
    axes.invert_yaxis()
    axes.set(title=section.title, xlabel="ms per vector step")
    axes.legend()
    return figure


_DRAWINGS: dict[str, Callable[[Section], Figure]] = {
    **dict.fromkeys(_BARS, _draw_bars),
    "growth": _draw_growth,
    "loop": _draw_loop,
}

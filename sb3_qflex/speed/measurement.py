"""What a benchmark finds: figures with all their samples, gathered in sections of the report."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Measurement:
    """
    One figure of the report.

    :param case: Row of the table, such as "403 / 80".
    :param quantity: Column of the table.
    :param unit: Of the samples; empty for ratios and shares.
    :param samples: One value per round; a single one for what is counted instead of timed.
    :param x: Abscissa in a figure, where the cases are values of one parameter.
    """

    case: str
    quantity: str
    unit: str
    samples: tuple[float, ...]
    x: float | None = None

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile."""
        low, median, high = np.percentile(self.samples, [25, 50, 75])
        return float(low), float(median), float(high)

    @property
    def median(self) -> float:
        """Median of the samples."""
        return self.quartiles[1]


@dataclass
class Section:
    """
    A row group of the report.

    :param name: As given to ``--rows``.
    :param title: Heading.
    :param text: What was compared and how, in Markdown.
    :param measurements: Figures in the order of rows, then columns.
    :param skipped: What could not be measured, and why.
    """

    name: str
    title: str
    text: str
    measurements: list[Measurement] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(
        self, case: str, quantity: str, samples: np.ndarray | float, unit: str = "", x: float | None = None
    ) -> None:
        """Add a :class:`Measurement`, which says what the parameters are."""
        values = tuple(float(value) for value in np.atleast_1d(samples))
        self.measurements.append(Measurement(case, quantity, unit, values, x))

    def find(self, case: str, quantity: str) -> Measurement:
        """The measurement of a row and column; a KeyError if there is none."""
        for one in self.measurements:
            if (one.case, one.quantity) == (case, quantity):
                return one
        raise KeyError(f"{self.name} has no {quantity!r} for {case!r}")

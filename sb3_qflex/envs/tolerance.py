"""The reward shape of dm_control's tasks: 1 inside an interval, falling off outside it (Tassa et al. 2018)."""


def linear(x: float, lower: float, upper: float, margin: float, value_at_margin: float = 0.0) -> float:
    """
    Plain floats throughout: a NumPy call costs more than the whole formula.

    :param x: Value
    :param lower: Lower bound of the interval worth 1
    :param upper: Its upper bound; may be ``inf``
    :param margin: Distance from the interval, above 0, at which the value is ``value_at_margin``
    :param value_at_margin: v, in [0, 1)
    :return: max(1 - (1 - v) d, 0) with d the distance of x from the interval in units of ``margin``
    """
    distance = max(lower - x, x - upper, 0.0) / margin
    return max(1.0 - (1.0 - value_at_margin) * distance, 0.0)


def gaussian(x: float, lower: float, upper: float, margin: float, value_at_margin: float = 0.1) -> float:
    """As :func:`linear`, with v^(d²), v in (0, 1), for the value outside the interval."""
    distance = max(lower - x, x - upper, 0.0) / margin
    return float(value_at_margin ** (distance * distance))

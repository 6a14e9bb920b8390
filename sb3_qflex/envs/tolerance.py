"""The reward shape of dm_control's tasks: 1 inside an interval, falling off outside it (Tassa et al. 2018)."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Shape = Literal["gaussian", "linear", "quadratic"]


def tolerance(
    x: float | NDArray[np.float64],
    lower: float = 0.0,
    upper: float = 0.0,
    margin: float = 1.0,
    shape: Shape = "gaussian",
    value_at_margin: float = 0.1,
) -> NDArray[np.float64]:
    """
    With d the distance of x from [lower, upper] in units of ``margin`` and v the value at d = 1: gaussian
    v^(d²), linear max(1 - (1 - v) d, 0), quadratic max(1 - (1 - v) d², 0).

    :param x: Value or array of any shape
    :param lower: Lower bound of the interval worth 1
    :param upper: Its upper bound; may be ``inf``
    :param margin: Distance, above 0, at which the value is ``value_at_margin``
    :param shape: How the value falls off
    :param value_at_margin: In [0, 1); above 0 for gaussian
    :return: In [0, 1], of the shape of x
    """
    distance = np.maximum(np.maximum(lower - x, x - upper), 0.0) / margin
    if shape == "gaussian":
        return np.power(value_at_margin, distance * distance)
    if shape == "quadratic":
        distance = distance * distance
    return np.maximum(1.0 - (1.0 - value_at_margin) * distance, 0.0)

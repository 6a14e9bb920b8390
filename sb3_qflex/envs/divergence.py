"""How a simulation that has diverged is recognised, before a NaN of it reaches anybody."""

from math import isfinite

import mujoco
import numpy as np
from numpy.typing import NDArray

_FIRST, _LAST = int(mujoco.mjtWarning.mjWARN_BADQPOS), int(mujoco.mjtWarning.mjWARN_BADQACC)


def is_finite(values: NDArray[np.floating]) -> bool:
    """
    One BLAS call in place of ``isfinite().all()``.

    :param values: (n,) of any floating type
    :return: Whether all are finite; float32 values beyond 1e19, whose square overflows, count as not finite. MuJoCo
        itself calls a simulation unstable from 1e10 on
    """
    return isfinite(float(values.dot(values)))


def bad_states(data: mujoco.MjData) -> NDArray[np.int32]:
    """
    MuJoCo resets a simulation whose positions, velocities or accelerations went bad by itself, to a finite state;
    its warning counters, which the next reset clears, are all it leaves behind.

    :param data: The simulation
    :return: (3,) view of the counters; any above 0 means that it went bad since its last reset
    """
    return data.warning.number[_FIRST : _LAST + 1]

"""A periodic motion from a file, as a smooth function of time.

The file is a NumPy ``.npz`` archive (read with ``allow_pickle=False``) with

======================  =========  ==================================================================================
entry                   shape      meaning
======================  =========  ==================================================================================
``qpos_traj``           (T, nq)    one cycle of joint coordinates in the model's order (m, rad), T >= 3 samples; the
                                   next sample would be the first one again, advanced by ``stride``
``framerate``           ()         samples per second
``stride``              () or      optional: how far coordinate 2 (``pelvis_tx``, forward) advances in one cycle, m;
                        (1,)       without it, the last sample is extrapolated by the first difference
======================  =========  ==================================================================================
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FORWARD = 2
ROOT_ROTATIONS = slice(3, 6)


class CyclicMotion:
    """
    Cubic spline through a cycle that repeats; coordinate 2 advances by the stride, the others are periodic.

    :param path: File in the format of this module's docstring
    :param coordinates: Number of joint coordinates nq it must have
    :raises ValueError: If the file is not of that format
    """

    def __init__(self, path: Path, coordinates: int) -> None:
        from scipy.interpolate import CubicSpline

        cycle, rate, stride = _read(path, coordinates)
        self.period = len(cycle) / rate
        self.forward_speed = stride / self.period
        self.largest_rotation = float(np.abs(cycle[:, ROOT_ROTATIONS]).max())
        times = np.arange(len(cycle) + 1) / rate
        cycle = np.vstack([cycle, cycle[:1]])
        cycle[-1, FORWARD] += stride
        cycle[:, FORWARD] -= self.forward_speed * times
        self._position = CubicSpline(times, cycle, bc_type="periodic")
        self._velocity = self._position.derivative()

    def at(self, time: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coordinates (nq,) and their time derivatives (nq,) at a time in s, at least 0."""
        phase = time % self.period
        position, velocity = self._position(phase), self._velocity(phase)
        position[FORWARD] += self.forward_speed * time
        velocity[FORWARD] += self.forward_speed
        return position, velocity


def _read(path: Path, coordinates: int) -> tuple[NDArray[np.float64], float, float]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            cycle = np.array(archive["qpos_traj"], dtype=np.float64)
            rate = float(archive["framerate"].item())
            stride = float(archive["stride"].item()) if "stride" in archive.files else None
    except (KeyError, ValueError, TypeError, AttributeError, OSError, EOFError) as error:
        raise ValueError(
            f"{path} is not a motion file ({error}); it must be an .npz with 'qpos_traj' (T, {coordinates}), "
            f"'framerate' and optionally 'stride'"
        ) from error
    if cycle.ndim != 2 or cycle.shape[1] != coordinates or len(cycle) < 3 or not np.isfinite(cycle).all():
        raise ValueError(
            f"{path}: 'qpos_traj' must be at least 3 finite rows of {coordinates} joint coordinates, got {cycle.shape}"
        )
    if stride is None:
        stride = float(cycle[-1, FORWARD] - cycle[0, FORWARD] + cycle[1, FORWARD] - cycle[0, FORWARD])
    if not (np.isfinite(rate) and rate > 0.0 and np.isfinite(stride)):
        raise ValueError(f"{path}: 'framerate' must be above 0 and 'stride' finite, got {rate} and {stride}")
    return cycle, rate, stride

"""What QFlex's own options may be."""

from typing import Any

import numpy as np

from sb3_qflex.common.validation import check_choice

BOOTSTRAPS = ("source", "flow")
EXPLORATIONS = ("flow", "source", "ascent")
NETWORKS = ("pi", "qf", "field")


def check_preconditioner(preconditioner: Any, action_dim: int) -> np.ndarray | None:
    """
    :param preconditioner: None, "rms", or |A| positive finite numbers.
    :param action_dim: |A|.
    :return: The diagonal of a constant metric, shape (|A|,); None for the others.
    :raises ValueError: For anything else.
    """
    if preconditioner is None:
        return None
    if isinstance(preconditioner, str):
        check_choice("preconditioner", preconditioner, ("rms",))
        return None
    try:
        diagonal = np.asarray(preconditioner, dtype=np.float64)
    except (TypeError, ValueError):
        diagonal = np.empty(0)
    if diagonal.shape != (action_dim,) or not np.all(np.isfinite(diagonal) & (diagonal > 0)):
        raise ValueError(
            f"preconditioner must be None, 'rms' or an array of {action_dim} positive finite numbers (one for each "
            f"actuator), not {preconditioner!r} of shape {diagonal.shape}."
        )
    return diagonal

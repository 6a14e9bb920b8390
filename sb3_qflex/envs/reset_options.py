"""What an environment takes by ``reset(options=...)``."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def checked_options(
    options: Mapping[str, Any] | None, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[np.float64]]:
    """The options, each of the shape given by its name, as arrays of their own; a ``ValueError`` for others."""
    checked = {}
    for name, value in (options or {}).items():
        if name not in shapes:
            raise ValueError(f"reset option {name!r} is unknown; allowed: {sorted(shapes)}")
        checked[name] = np.array(value, dtype=np.float64)
        if checked[name].shape != shapes[name] or not np.isfinite(checked[name]).all():
            raise ValueError(f"reset option {name!r} must be finite and of shape {shapes[name]}, got {value!r}")
    return checked

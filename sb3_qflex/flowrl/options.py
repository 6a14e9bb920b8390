"""What FlowRL's own options may be, and what its presets fill in."""

from collections.abc import Mapping
from typing import Any

from sb3_qflex.common.validation import check_number

CFM_WEIGHTINGS = ("sample", "batch")
CFM_SPACES = ("action", "latent", "box")
NETWORKS = ("pi", "qf", "vf")
#: What each preset fills in: the paper's form, and that of the authors' code.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "official": {"cfm_weighting": "sample", "cfm_space": "action"},
    "code": {"cfm_weighting": "batch", "cfm_space": "box"},
}


def check_clip(clip: Any) -> None:
    """
    :param clip: Two numbers, 0 <= low <= high.
    :raises ValueError: For anything else.
    """
    if not isinstance(clip, (tuple, list)) or len(clip) != 2:
        raise ValueError(f"cfm_clip must be a pair of numbers such as (1e-3, 1.0), not {clip!r}.")
    low, high = clip
    check_number("the lower end of cfm_clip", low)
    check_number("the upper end of cfm_clip", high, minimum=low)

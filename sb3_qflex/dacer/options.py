"""What DACER's presets stand for."""

from typing import Any

#: "official": the method's own repository. "qflex": what the QFlex paper's comparison ran, in its details another
#: algorithm.
PRESETS: dict[str, dict[str, Any]] = {
    "official": {
        "learning_rate": 1e-4,
        "beta_schedule": "vp",
        "beta_scale": 1.0,
        "start_scale": 1.0,
        "policy_lr_end": None,
    },
    "qflex": {
        "learning_rate": 3e-4,
        "beta_schedule": "linear",
        "beta_scale": 0.3,
        "start_scale": 0.5,
        "policy_lr_end": 3e-5,
    },
}

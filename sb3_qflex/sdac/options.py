"""What SDAC's and DPMD's own options may be, and the settings that their presets stand for."""

from typing import Any

#: "official": the methods' own repository. "qflex": what the QFlex paper's comparison ran, where alpha hardly moves.
PRESETS: dict[str, dict[str, Any]] = {"official": {"alpha_lr": 7e-3}, "qflex": {"alpha_lr": 3e-4}}

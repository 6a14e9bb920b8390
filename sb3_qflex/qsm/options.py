"""What QSM's own options may be, and what its presets and variants fill in."""

from collections.abc import Mapping
from typing import Any

from sb3_qflex.common.options import with_preset
from sb3_qflex.common.validation import check_choice

VARIANTS = ("ddpm", "langevin")
#: Which variant is meant where the user names none: that of the method's own repository, or what the comparison of
#: QFlex's authors calls QSM.
PRESETS = {"official": "ddpm", "qflex": "langevin"}

_OF_VARIANT: dict[str, dict[str, Any]] = {
    "ddpm": {
        "diffusion_steps": 5,
        "n_particles": 1,
        "action_noise_std": 0.1,
        "policy_lr_end": 0.0,
        "policy_lr_begin": 0,
        "actor_lr_decay_steps": 2_000_000,
    },
    "langevin": {
        "diffusion_steps": 20,
        "n_particles": 32,
        "action_noise_std": 0.0,
        "policy_lr_end": 3e-5,
        "policy_lr_begin": 25_000,
        "actor_lr_decay_steps": 50_000,
    },
}
_NET_ARCHS = {"ddpm": [512, 512], "langevin": [256, 256, 256]}


def filled(preset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """
    Options with those in place that the user left at None.

    :param preset: "official" or "qflex".
    :param given: ``variant``, and the options that depend on it.
    :return: The same names.
    :raises ValueError: For an unknown preset or variant.
    """
    check_choice("preset", preset, PRESETS)
    variant = PRESETS[preset] if given["variant"] is None else given["variant"]
    check_choice("variant", variant, VARIANTS)
    return with_preset(_OF_VARIANT, variant, {**given, "variant": variant})


def default_net_arch(variant: str) -> list[int]:
    """
    Hidden layers of all networks.

    :param variant: "ddpm" or "langevin".
    """
    return list(_NET_ARCHS[variant])

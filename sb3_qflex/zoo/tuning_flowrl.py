"""Search space of ``rl_zoo3 train --algo flowrl -optimize``."""

from typing import Any

import optuna

from sb3_qflex.zoo.tuning import sample_off_policy_params


def sample_flowrl_params(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """The common ones; what its authors tune, the expectile; and what the reward's scale asks for, the weight."""
    return {
        **sample_off_policy_params(trial, n_actions, n_envs, additional_args),
        "policy_delay": trial.suggest_int("policy_delay", 1, 4),
        "expectile": trial.suggest_categorical("expectile", [0.7, 0.8, 0.9, 0.95]),
        "cfm_weight": trial.suggest_float("cfm_weight", 0.01, 1.0, log=True),
    }

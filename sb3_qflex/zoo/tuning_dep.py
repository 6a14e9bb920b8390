"""Search spaces of ``rl_zoo3 train -optimize`` for the algorithms that DEP explores for."""

from typing import Any

import optuna

from sb3_qflex.zoo import tuning

_PREFIX = "dep_"


def sample_sac(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """Those of SAC, and DEP's."""
    return {**tuning.sample_sac_params(trial, n_actions, n_envs, additional_args), "dep": _sample_dep(trial)}


def sample_crossq(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """Those of CrossQ, and DEP's."""
    return {**tuning.sample_crossq_params(trial, n_actions, n_envs, additional_args), "dep": _sample_dep(trial)}


def sample_qflex(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """Those of QFlex, and DEP's."""
    return {**tuning.sample_qflex_params(trial, n_actions, n_envs, additional_args), "dep": _sample_dep(trial)}


def convert_params(sampled: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments of values by the names they were drawn under."""
    dep = {name.removeprefix(_PREFIX): value for name, value in sampled.items() if name.startswith(_PREFIX)}
    others = {name: value for name, value in sampled.items() if not name.startswith(_PREFIX)}
    return {**tuning.convert_params(others), "dep": dep}


def _sample_dep(trial: optuna.Trial) -> dict[str, Any]:
    """The authors' settings differ most in these; the others are the entry's."""
    return {
        "kappa": trial.suggest_float("dep_kappa", 10.0, 2000.0, log=True),
        "tau": trial.suggest_int("dep_tau", 8, 80),
        "time_dist": trial.suggest_int("dep_time_dist", 2, 60, log=True),
        "bias_rate": trial.suggest_float("dep_bias_rate", 1e-5, 0.05, log=True),
        "intervention_length": trial.suggest_int("dep_intervention_length", 2, 20),
        "intervention_proba": trial.suggest_float("dep_intervention_proba", 1e-4, 0.02, log=True),
    }

"""Search spaces of the algorithms with Lattice's noise: its form and size, on top of those of the algorithms."""

from typing import Any

import optuna

from sb3_qflex.zoo import tuning

#: The names that they are drawn under, and those of the policy's arguments.
_NOISE = {
    "lattice_state_dependent": "state_dependent",
    "lattice_log_std_init": "log_std_init",
    "lattice_alpha": "lattice_alpha",
}


def sample_sac(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """
    Draw hyperparameters of LatticeSAC.

    :param trial: the trial to draw from
    :param n_actions: number of actuators
    :param n_envs: number of environments of the entry that is tuned
    :param additional_args: RL Zoo's "using_her_replay_buffer" and "her_kwargs"
    :return: constructor arguments
    """
    return _with_noise(tuning.sample_sac_params(trial, n_actions, n_envs, additional_args), _sample_noise(trial))


def sample_crossq(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """Those of LatticeCrossQ: CrossQ's, and the same on top."""
    return _with_noise(tuning.sample_crossq_params(trial, n_actions, n_envs, additional_args), _sample_noise(trial))


def sample_qflex(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """Those of LatticeQFlex: QFlex's, and the same on top."""
    return _with_noise(tuning.sample_qflex_params(trial, n_actions, n_envs, additional_args), _sample_noise(trial))


def convert_params(sampled: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments of values by the names they were drawn under."""
    others = {name: value for name, value in sampled.items() if name not in _NOISE}
    return _with_noise(tuning.convert_params(others), {name: sampled[name] for name in _NOISE if name in sampled})


def _sample_noise(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "lattice_state_dependent": trial.suggest_categorical("lattice_state_dependent", [False, True]),
        "lattice_log_std_init": trial.suggest_float("lattice_log_std_init", -3.0, 0.0),
        "lattice_alpha": trial.suggest_float("lattice_alpha", 0.1, 2.0, log=True),
    }


def _with_noise(hyperparams: dict[str, Any], noise: dict[str, Any]) -> dict[str, Any]:
    given = {_NOISE[name]: value for name, value in noise.items()}
    return {**hyperparams, "policy_kwargs": {**hyperparams.get("policy_kwargs", {}), **given}}

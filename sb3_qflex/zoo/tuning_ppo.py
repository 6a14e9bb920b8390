"""Search spaces of DynSyn and Lattice on PPO: RL Zoo's of PPO, and what theirs on other algorithms have on top."""

from typing import Any

import optuna
from rl_zoo3 import hyperparams_opt

from sb3_qflex.zoo.tuning_dynsyn import sample_weights

#: The names that they are drawn under, and those of the policy's arguments.
_NOISE = {"lattice_log_std_init": "log_std_init", "lattice_alpha": "lattice_alpha"}


def sample_dynsyn(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """
    Draw hyperparameters of DynSynPPO. The groups are the entry's.

    :param trial: the trial to draw from
    :param n_actions: number of actuators
    :param n_envs: number of environments of the entry that is tuned
    :param additional_args: RL Zoo's; not used
    :return: constructor arguments
    """
    drawn = hyperparams_opt.sample_ppo_params(trial, n_actions, n_envs, additional_args)
    return {**drawn, **sample_weights(trial)}


def convert_dynsyn(sampled: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments of values by the names they were drawn under."""
    return hyperparams_opt.convert_onpolicy_params(sampled)


def sample_lattice(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """Those of LatticePPO and LatticeRecurrentPPO: PPO's, the form of the noise, and its size."""
    drawn = hyperparams_opt.sample_ppo_params(trial, n_actions, n_envs, additional_args)
    noise = {
        "lattice_log_std_init": trial.suggest_float("lattice_log_std_init", -3.0, 0.0),
        "lattice_alpha": trial.suggest_float("lattice_alpha", 0.1, 2.0, log=True),
    }
    return {**_with_noise(drawn, noise), "use_sde": trial.suggest_categorical("use_sde", [False, True])}


def convert_lattice(sampled: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments of values by the names they were drawn under."""
    others = {name: value for name, value in sampled.items() if name not in _NOISE}
    return _with_noise(hyperparams_opt.convert_onpolicy_params(others), sampled)


def _with_noise(hyperparams: dict[str, Any], sampled: dict[str, Any]) -> dict[str, Any]:
    noise = {_NOISE[name]: value for name, value in sampled.items() if name in _NOISE}
    return {**hyperparams, "policy_kwargs": {**hyperparams["policy_kwargs"], **noise}}

"""Search spaces of MaxInfoSAC and MaxInfoCrossQ: how the information gain is learned and weighed, on top of others."""

from typing import Any

import optuna

from sb3_qflex.zoo.tuning import sample_crossq_params, sample_off_policy_params


def sample_sac(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """
    Draw hyperparameters of MaxInfoSAC.

    :param trial: the trial to draw from
    :param n_actions: number of actuators
    :param n_envs: number of environments of the entry that is tuned
    :param additional_args: RL Zoo's "using_her_replay_buffer" and "her_kwargs"
    :return: constructor arguments
    """
    return {**sample_off_policy_params(trial, n_actions, n_envs, additional_args), **_sample_information(trial)}


def sample_crossq(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """Those of MaxInfoCrossQ: CrossQ's, and the same on top."""
    return {**sample_crossq_params(trial, n_actions, n_envs, additional_args), **_sample_information(trial)}


def _sample_information(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "info_coef": trial.suggest_categorical("info_coef", ["auto_1.0", "auto_0.1", "auto_0.01"]),
        "ensemble_lr": trial.suggest_float("ensemble_lr", 1e-4, 1e-3, log=True),
        "ensemble_size": trial.suggest_categorical("ensemble_size", [3, 5, 7]),
    }

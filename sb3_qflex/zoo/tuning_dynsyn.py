"""Search spaces of DynSyn on SAC, CrossQ and QFlex: when and how fast single muscles come in, on top of others."""

from typing import Any

import optuna

from sb3_qflex.zoo.tuning import sample_crossq_params, sample_off_policy_params, sample_qflex_params


def sample_sac(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """
    Draw hyperparameters of DynSynSAC. The groups are the entry's.

    :param trial: the trial to draw from
    :param n_actions: number of actuators
    :param n_envs: number of environments of the entry that is tuned
    :param additional_args: RL Zoo's "using_her_replay_buffer" and "her_kwargs"
    :return: constructor arguments
    """
    return {**sample_off_policy_params(trial, n_actions, n_envs, additional_args), **sample_weights(trial)}


def sample_crossq(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """Those of DynSynCrossQ: CrossQ's, and the same on top."""
    return {**sample_crossq_params(trial, n_actions, n_envs, additional_args), **sample_weights(trial)}


def sample_qflex(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """Those of DynSynQFlex: QFlex's, and the same on top."""
    return {**sample_qflex_params(trial, n_actions, n_envs, additional_args), **sample_weights(trial)}


def sample_weights(trial: optuna.Trial) -> dict[str, Any]:
    """When the weights of single muscles begin to come in, and how fast."""
    return {
        "weight_k": trial.suggest_float("weight_k", 1e-9, 1e-6, log=True),
        "weight_a0": trial.suggest_float("weight_a0", 1e4, 3e7, log=True),
    }

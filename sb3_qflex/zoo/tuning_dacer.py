"""Search space of DACER: scale of the rewards, size and course of the noise, and the length of the chain."""

from typing import Any

import optuna

from sb3_qflex.zoo.tuning import sample_off_policy_params


def sample_dacer(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """
    Draw hyperparameters of DACER.

    :param trial: the trial to draw from
    :param n_actions: number of actuators
    :param n_envs: number of environments of the entry that is tuned
    :param additional_args: RL Zoo's "using_her_replay_buffer" and "her_kwargs"
    :return: constructor arguments
    """
    return {
        **sample_off_policy_params(trial, n_actions, n_envs, additional_args),
        "reward_scale": trial.suggest_float("reward_scale", 0.02, 2.0, log=True),
        "noise_scale": trial.suggest_categorical("noise_scale", [0.05, 0.1, 0.15]),
        "alpha_lr": trial.suggest_float("alpha_lr", 1e-3, 1e-1, log=True),
        "alpha_delay": trial.suggest_categorical("alpha_delay", [100, 1000, 10_000]),
        "diffusion_steps": trial.suggest_categorical("diffusion_steps", [5, 10, 20]),
    }

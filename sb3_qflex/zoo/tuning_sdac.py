"""Search space of SDAC and DPMD: scale of the rewards, course and size of the noise, and the number of particles."""

from typing import Any

import optuna

from sb3_qflex.zoo.tuning import sample_off_policy_params


def sample_sdac(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """
    Draw hyperparameters of SDAC or DPMD.

    :param trial: the trial to draw from
    :param n_actions: number of actuators
    :param n_envs: number of environments of the entry that is tuned
    :param additional_args: RL Zoo's "using_her_replay_buffer" and "her_kwargs"
    :return: constructor arguments
    """
    return {
        **sample_off_policy_params(trial, n_actions, n_envs, additional_args),
        "reward_scale": trial.suggest_float("reward_scale", 0.02, 2.0, log=True),
        "alpha_lr": trial.suggest_float("alpha_lr", 3e-4, 3e-2, log=True),
        "noise_scale": trial.suggest_float("noise_scale", 0.02, 0.3, log=True),
        "n_particles": trial.suggest_categorical("n_particles", [1, 8, 32]),
    }

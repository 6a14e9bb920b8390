"""Search space of QSM: how far actions follow the gradient of Q, and how they are sampled."""

from typing import Any

import optuna

from sb3_qflex.zoo.tuning import sample_off_policy_params


def sample_qsm(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """
    Draw hyperparameters of QSM; the variant is the entry's, and M_q says nothing to "langevin".

    :param trial: the trial to draw from
    :param n_actions: number of actuators
    :param n_envs: number of environments of the entry that is tuned
    :param additional_args: RL Zoo's "using_her_replay_buffer" and "her_kwargs"
    :return: constructor arguments
    """
    return {
        **sample_off_policy_params(trial, n_actions, n_envs, additional_args),
        "q_grad_scale": trial.suggest_float("q_grad_scale", 1.0, 200.0, log=True),
        "action_noise_std": trial.suggest_categorical("action_noise_std", [0.0, 0.05, 0.1, 0.2]),
        "n_particles": trial.suggest_categorical("n_particles", [1, 8, 32]),
    }

"""Search spaces of ``rl_zoo3 train -optimize`` for our algorithms and for CrossQ, for which RL Zoo has none.

The signature is RL Zoo's: ``sampler(trial, n_actions, n_envs, additional_args)`` returns constructor arguments;
``converter(trial.params)`` turns a stored trial (``--trial-id``) into the same arguments.
"""

from typing import Any

import optuna
from rl_zoo3.hyperparams_opt import convert_offpolicy_params, sample_her_params

#: What ``sample_her_params`` draws, and where HER expects it.
_HER_KEYS = ("n_sampled_goal", "goal_selection_strategy")


def sample_off_policy_params(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """
    Draw hyperparameters that every off-policy algorithm here has.

    :param trial: the trial to draw from
    :param n_actions: number of actuators
    :param n_envs: number of environments of the entry that is tuned
    :param additional_args: RL Zoo's "using_her_replay_buffer" and "her_kwargs"
    :return: constructor arguments
    """
    sampled: dict[str, Any] = {
        "one_minus_gamma": trial.suggest_float("one_minus_gamma", 0.0001, 0.03, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 0.002, log=True),
        # From 2**5 = 32: BatchRenorm estimates its statistics on the batch.
        "batch_size_pow": trial.suggest_int("batch_size_pow", 5, 10),
        "net_arch": trial.suggest_categorical("net_arch", ["small", "medium", "large"]),
        **_sample_updates(trial, n_envs),
    }
    trial.set_user_attr("gamma", 1 - sampled["one_minus_gamma"])
    trial.set_user_attr("batch_size", 2 ** sampled["batch_size_pow"])
    if additional_args["using_her_replay_buffer"]:
        sampled = sample_her_params(trial, sampled, additional_args["her_kwargs"])
    return convert_params(sampled)


def sample_sac_params(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """Those of SAC: the common ones, and how fast the target critics follow."""
    common = sample_off_policy_params(trial, n_actions, n_envs, additional_args)
    return {**common, "tau": trial.suggest_float("tau", 0.001, 0.08, log=True)}


def sample_crossq_params(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """Those of CrossQ: the common ones, and how often the actor is updated."""
    common = sample_off_policy_params(trial, n_actions, n_envs, additional_args)
    return {**common, "policy_delay": trial.suggest_int("policy_delay", 1, 4)}


def sample_qflex_params(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict) -> dict[str, Any]:
    """Those of QFlex: those of CrossQ and, on top, how far and how finely actions are moved."""
    return {
        **sample_crossq_params(trial, n_actions, n_envs, additional_args),
        "guidance_step_size": trial.suggest_float("guidance_step_size", 0.002, 0.05, log=True),
        "guidance_steps": trial.suggest_int("guidance_steps", 5, 40),
        "flow_steps": trial.suggest_categorical("flow_steps", [5, 10, 20]),
    }


def convert_params(sampled: dict[str, Any]) -> dict[str, Any]:
    """Constructor arguments of values by the names they were drawn under."""
    hyperparams = dict(sampled)
    her = {key: hyperparams.pop(key) for key in _HER_KEYS if key in hyperparams}
    if her:
        hyperparams["replay_buffer_kwargs"] = her
    return convert_offpolicy_params(hyperparams)


def _sample_updates(trial: optuna.Trial, n_envs: int) -> dict[str, int]:
    """
    With one environment, ``train_freq`` (the converter makes as many gradient steps). With several, ``train_freq``
    is the entry's, and what is searched is the number of updates per vector step: one per transition would be
    ``n_envs`` of them.
    """
    if n_envs == 1:
        return {"train_freq": trial.suggest_int("train_freq", 1, 10)}
    return {"gradient_steps": trial.suggest_int("gradient_steps", 1, min(n_envs, 8))}

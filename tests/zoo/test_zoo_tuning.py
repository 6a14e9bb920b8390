"""Search spaces for RL Zoo's tuner."""

from typing import Any

import optuna
import pytest
from gymnasium import spaces
from sb3_contrib import CrossQ

from sb3_qflex import QFlex
from sb3_qflex.zoo import tuning
from sb3_qflex.zoo.registration import register

register()

from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER  # noqa: E402

NO_HER: dict[str, Any] = {"using_her_replay_buffer": False, "her_kwargs": {}}
SHARED = {
    "one_minus_gamma": 0.01,
    "learning_rate": 1e-3,
    "batch_size_pow": 6,
    "policy_delay": 2,
    "net_arch": "small",
}
FLOW = {"guidance_step_size": 0.02, "guidance_steps": 7, "flow_steps": 5}
ALGORITHMS = {"qflex": (QFlex, FLOW), "crossq": (CrossQ, {})}


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_one_environment(algo: str) -> None:
    flow = ALGORITHMS[algo][1]
    trial = optuna.trial.FixedTrial({**SHARED, **flow, "train_freq": 4})
    assert HYPERPARAMS_SAMPLER[algo](trial, 3, 1, dict(NO_HER)) == {
        "gamma": 0.99,
        "learning_rate": 1e-3,
        "batch_size": 64,
        "policy_delay": 2,
        "train_freq": 4,
        "gradient_steps": 4,
        "policy_kwargs": {"net_arch": [64, 64]},
        **flow,
    }


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_many_environments_search_updates_per_vector_step(algo: str) -> None:
    trial = optuna.trial.FixedTrial({**SHARED, **ALGORITHMS[algo][1], "gradient_steps": 3})
    sampled = HYPERPARAMS_SAMPLER[algo](trial, 3, 80, dict(NO_HER))
    assert sampled["gradient_steps"] == 3
    assert "train_freq" not in sampled


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("n_envs", [1, 80])
def test_converter_repeats_a_stored_trial(algo: str, n_envs: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=n_envs))
    trial = study.ask()
    sampled = HYPERPARAMS_SAMPLER[algo](trial, 3, n_envs, dict(NO_HER))
    assert HYPERPARAMS_CONVERTER[algo](trial.params) == sampled


def test_her_keeps_its_own_arguments() -> None:
    trial = optuna.trial.FixedTrial(
        {**SHARED, **FLOW, "train_freq": 1, "n_sampled_goal": 3, "goal_selection_strategy": "future"}
    )
    additional = {"using_her_replay_buffer": True, "her_kwargs": {"copy_info_dict": True}}
    sampled = tuning.sample_qflex_params(trial, 3, 1, additional)
    buffer = {"copy_info_dict": True, "n_sampled_goal": 3, "goal_selection_strategy": "future"}
    assert sampled["replay_buffer_kwargs"] == buffer
    assert "n_sampled_goal" not in tuning.convert_params(trial.params)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_corner_is_accepted_by_the_constructor(algo: str) -> None:
    algorithm = ALGORITHMS[algo][0]
    for seed in range(5):
        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
        sampled = HYPERPARAMS_SAMPLER[algo](trial, 1, 1, dict(NO_HER))
        model = algorithm("MlpPolicy", "Pendulum-v1", buffer_size=100, device="cpu", **sampled)
        assert isinstance(model.action_space, spaces.Box)
        assert model.batch_size == sampled["batch_size"]

"""Search spaces for RL Zoo's tuner, and what becomes of the entry that is tuned."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from gymnasium import spaces
from sb3_contrib import CrossQ
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from sb3_qflex import QFlex
from sb3_qflex.zoo import startup, tuning
from sb3_qflex.zoo.registration import register

register()

from rl_zoo3 import exp_manager  # noqa: E402
from rl_zoo3.exp_manager import ExperimentManager  # noqa: E402
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


class Loud(FlattenExtractor):
    """Features of the entry's own choice."""


ENTRY_KWARGS = "dict(net_arch=[8], activation_fn=nn.Tanh)"


def experiment(folder: Path, algo: str, **kwargs: Any) -> ExperimentManager:
    config = folder / "conf.yml"
    config.write_text(
        "default: {n_timesteps: 60, policy: MlpPolicy, learning_starts: 40, buffer_size: 100, "
        f"policy_kwargs: '{ENTRY_KWARGS}'}}"
    )
    return ExperimentManager(
        argparse.Namespace(),
        algo,
        "Pendulum-v1",
        str(folder / "logs"),
        verbose=0,
        device="cpu",
        config=str(config),
        **{"no_optim_plots": True, "n_eval_episodes": 1, "eval_freq": -1, **kwargs},
    )


def built(monkeypatch: pytest.MonkeyPatch, algo: str) -> list[dict[str, Any]]:
    """What models of this process are built with, as a list that grows."""
    algorithm, arguments = ALGORITHMS[algo][0], []

    class Recording(algorithm):  # type: ignore[valid-type, misc]
        def __init__(self, *args: Any, **kwargs: Any):
            arguments.append(kwargs)
            super().__init__(*args, **kwargs)

    monkeypatch.setitem(exp_manager.ALGOS, algo, Recording)
    return arguments


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_trial_keeps_the_entrys_policy(algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = built(monkeypatch, algo)
    policy_kwargs = {"net_arch": [8], "activation_fn": nn.Tanh, "features_extractor_class": Loud}
    run = experiment(
        tmp_path, algo, optimize_hyperparameters=True, n_trials=1, hyperparams={"policy_kwargs": policy_kwargs}
    )
    assert run.setup_experiment() is None
    run.hyperparameters_optimization()
    ((kept),) = (one["policy_kwargs"] for one in arguments)
    assert (kept["activation_fn"], kept["features_extractor_class"]) == (nn.Tanh, Loud)
    assert kept["net_arch"] != [8]  # that is drawn
    # Outside of a trial the sampler is itself again.
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    assert set(HYPERPARAMS_SAMPLER[algo](trial, 1, 1, dict(NO_HER))["policy_kwargs"]) == {"net_arch"}


@pytest.fixture
def study(tmp_path: Path) -> dict[str, str]:
    """A study with two trials."""
    storage = tmp_path / "study.log"
    backend = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(storage)))
    found = optuna.create_study(study_name="s", storage=backend, sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(2):
        trial = found.ask()
        HYPERPARAMS_SAMPLER["qflex"](trial, 1, 1, dict(NO_HER))
        found.tell(trial, 0.0)
    return {"storage": str(storage), "study_name": "s"}


@pytest.mark.parametrize("trial_id", [1, -2])
def test_a_trial_that_is_loaded_keeps_them_as_well(trial_id: int, study: dict[str, str], tmp_path: Path) -> None:
    entry, _ = experiment(tmp_path, "qflex", trial_id=trial_id, **study).read_hyperparameters()
    assert entry["policy_kwargs"]["activation_fn"] is nn.Tanh
    assert entry["policy_kwargs"]["net_arch"] in ([64, 64], [256, 256], [256, 256, 256])
    assert {"gamma", "flow_steps"} <= set(entry)


def test_the_replay_buffers_keywords_stay_too(tmp_path: Path) -> None:
    storage = tmp_path / "her.log"
    backend = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(storage)))
    found = optuna.create_study(study_name="s", storage=backend, sampler=optuna.samplers.RandomSampler(seed=0))
    additional = {"using_her_replay_buffer": True, "her_kwargs": {}}
    _, drawn = (HYPERPARAMS_SAMPLER["qflex"](found.ask(), 1, 1, additional)["replay_buffer_kwargs"] for _ in range(2))
    run = experiment(tmp_path, "qflex", storage=str(storage), study_name="s", trial_id=1)
    config = tmp_path / "conf.yml"
    config.write_text(config.read_text().replace("policy_kwargs:", "replay_buffer_kwargs: {a: 1}, policy_kwargs:"))
    assert run.read_hyperparameters()[0]["replay_buffer_kwargs"] == {"a": 1, **drawn}
    # The command line wins, as RL Zoo has it.
    run.custom_hyperparams = {"replay_buffer_kwargs": {"b": 2}}
    assert run.read_hyperparameters()[0]["replay_buffer_kwargs"] == {"b": 2}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"storage": "a.log", "study_name": "s"}, "--trial-id: not given"),
        ({"study_name": "s"}, "--storage, --trial-id: not given"),
        ({"trial_id": 3}, "--storage, --study-name: not given"),
        ({"storage": "a.log", "study_name": "s", "trial_id": 0}, "takes --trial-id 0 for none.*--trial-id -N"),
    ],
)
def test_a_trial_asked_for_in_part_is_refused(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        experiment(tmp_path, "qflex", **given).read_hyperparameters()
    # RL Zoo's own algorithms stay as they are, and a search needs no trial.
    experiment(tmp_path, "crossq", **given).read_hyperparameters()
    given.pop("trial_id", None)
    experiment(tmp_path, "qflex", optimize_hyperparameters=True, **given).read_hyperparameters()


@pytest.mark.parametrize("first", ["sb3_qflex.zoo.tuning", "sb3_qflex.zoo.registration", "rl_zoo3.hyperparams_opt"])
def test_the_tuning_space_is_there_whatever_is_imported_first(first: str, tmp_path: Path) -> None:
    shutil.copy(startup.__file__, tmp_path / "_sb3_qflex_startup.py")
    (tmp_path / "sitecustomize.py").write_text("import _sb3_qflex_startup; _sb3_qflex_startup.install()")
    code = f"import {first}\nfrom rl_zoo3.hyperparams_opt import HYPERPARAMS_SAMPLER as known\n"
    code += "print('qflex' in known, 'crossq' in known)"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(startup.__file__).parents[2]}"}
    environment.pop("SB3_QFLEX_ZOO", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout.splitlines()[-1:] == ["True True"], done.stderr
    assert "could not add itself" not in done.stderr

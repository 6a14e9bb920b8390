"""Algorithms with Lattice's noise in RL Zoo: tuning spaces, and runs from their files; its policy in PPO's entries."""

import argparse
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from sb3_qflex import (
    LatticeCrossQ,
    LatticePPO,
    LatticePPOPolicy,
    LatticeQFlex,
    LatticeRecurrentPPO,
    LatticeRecurrentPPOPolicy,
    LatticeSAC,
)
from sb3_qflex.analysis.trained import algorithm_of
from sb3_qflex.zoo.hyperparameters import our_folder
from sb3_qflex.zoo.registration import register

register()

from rl_zoo3.exp_manager import ExperimentManager  # noqa: E402
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER  # noqa: E402

ALGORITHMS: dict[str, Any] = {"lattice_sac": LatticeSAC, "lattice_crossq": LatticeCrossQ, "lattice_qflex": LatticeQFlex}
ON_POLICY: dict[str, Any] = {
    "lattice_ppo": ("MlpPolicy", LatticePPO, LatticePPOPolicy),
    "lattice_ppo_lstm": ("MlpLstmPolicy", LatticeRecurrentPPO, LatticeRecurrentPPOPolicy),
}


def experiment(algo: str, folder: Path, **given: Any) -> ExperimentManager:
    return ExperimentManager(
        argparse.Namespace(), algo, "Pendulum-v1", str(folder), n_timesteps=40, verbose=0, log_interval=-1,
        device="cpu", eval_freq=-1, **given,
    )  # fmt: skip


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("n_envs", [1, 80])
def test_what_is_drawn_is_repeated_and_accepted(algo: str, n_envs: int) -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=n_envs)).ask()
    sampled = HYPERPARAMS_SAMPLER[algo](trial, 3, n_envs, {"using_her_replay_buffer": False, "her_kwargs": {}})
    assert HYPERPARAMS_CONVERTER[algo](trial.params) == sampled
    model = ALGORITHMS[algo]("MlpPolicy", "Pendulum-v1", buffer_size=100, device="cpu", **sampled)
    for name in ("state_dependent", "log_std_init", "lattice_alpha"):
        assert getattr(model.policy.noise, name) == sampled["policy_kwargs"][name]


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_rl_zoo_trains_it_from_our_file(algo: str, tmp_path: Path) -> None:
    own = {"learning_starts": 20, "buffer_size": 200, "n_envs": 1, "policy_kwargs": {"net_arch": [8], "std_reg": 0.5}}
    run = experiment(algo, tmp_path, hyperparams=own)
    assert run.config == str(our_folder() / f"{algo}.yml")
    setup = run.setup_experiment()
    assert setup is not None
    model = setup[0]
    assert type(model) is ALGORITHMS[algo]
    run.learn(model)
    run.save_trained_model(model)
    (saved,) = tmp_path.rglob("Pendulum-v1.zip")
    assert ALGORITHMS[algo].load(saved, device="cpu").policy.noise.std_reg == 0.5


def test_the_authors_settings_are_the_default_of_sac(tmp_path: Path) -> None:
    setup = experiment("lattice_sac", tmp_path, hyperparams={"n_envs": 1}).setup_experiment()
    assert setup is not None
    noise = setup[0].policy.noise
    assert (noise.state_dependent, noise.use_expln, noise.std_clip, noise.log_std_init) == (
        True,
        True,
        (1e-3, 1.0),
        0.0,
    )
    assert (setup[0].gamma, setup[0].tau, noise.noise_sample_freq) == (0.98, 0.02, 8)


def test_an_entry_of_ppo_names_the_policy(tmp_path: Path) -> None:
    entry = {"policy": "sb3_qflex.LatticePPOPolicy", "use_sde": True, "policy_kwargs": "dict(full_std=False)"}
    path = tmp_path / "ppo.yml"
    path.write_text(yaml.safe_dump({"Pendulum-v1": {"n_timesteps": 40, "n_steps": 32, "batch_size": 32, **entry}}))
    run = experiment("ppo", tmp_path, config=str(path))
    setup = run.setup_experiment()
    assert setup is not None and type(setup[0].policy) is LatticePPOPolicy
    assert setup[0].policy.log_std.shape == (64, 2)
    setup[0].learn(40)


@pytest.mark.parametrize("algo", ON_POLICY)
def test_what_is_drawn_for_ppo_is_repeated_and_accepted(algo: str) -> None:
    name, algorithm, _ = ON_POLICY[algo]
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3)).ask()
    sampled = HYPERPARAMS_SAMPLER[algo](trial, 3, 1, {})
    assert HYPERPARAMS_CONVERTER[algo](trial.params) == sampled
    model = algorithm(name, "Pendulum-v1", device="cpu", **sampled)
    assert (model.use_sde, model.policy.log_std_init) == (sampled["use_sde"], sampled["policy_kwargs"]["log_std_init"])
    assert model.policy.noise.lattice_alpha == sampled["policy_kwargs"]["lattice_alpha"]


@pytest.mark.parametrize("algo", ON_POLICY)
def test_rl_zoo_trains_on_ppo_from_our_file(algo: str, tmp_path: Path) -> None:
    _, algorithm, policy = ON_POLICY[algo]
    # Of the defaults only what a short run cannot have.
    run = experiment(algo, tmp_path, hyperparams={"n_steps": 16, "batch_size": 16, "n_envs": 1, "use_sde": True})
    assert run.config == str(our_folder() / f"{algo}.yml")
    setup = run.setup_experiment()
    assert setup is not None
    model = setup[0]
    assert type(model) is algorithm and type(model.policy) is policy
    run.learn(model)
    run.save_trained_model(model)
    (saved,) = tmp_path.rglob("Pendulum-v1.zip")
    assert algorithm_of(saved) is algorithm
    assert type(algorithm.load(saved, device="cpu").policy) is policy


def test_the_authors_settings_are_the_default_of_recurrent_ppo(tmp_path: Path) -> None:
    setup = experiment("lattice_ppo_lstm", tmp_path, hyperparams={"n_envs": 1}).setup_experiment()
    assert setup is not None
    model = setup[0]
    assert (model.use_sde, model.gae_lambda, model.n_steps, model.policy.noise.std_clip) == (
        True,
        0.9,
        128,
        (1e-3, 10.0),
    )
    assert model.policy.log_std.shape == (256, 2)

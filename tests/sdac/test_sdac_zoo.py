"""SDAC and DPMD in RL Zoo: tuning spaces, and a run from their files."""

import argparse
from pathlib import Path
from typing import Any

import optuna
import pytest

from sb3_qflex import DPMD, SDAC
from sb3_qflex.zoo.hyperparameters import entries, our_folder
from sb3_qflex.zoo.registration import register

register()

from rl_zoo3.exp_manager import ExperimentManager  # noqa: E402
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER  # noqa: E402

ALGORITHMS: dict[str, Any] = {"sdac": SDAC, "dpmd": DPMD}


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("n_envs", [1, 80])
def test_what_is_drawn_is_repeated_and_accepted(algo: str, n_envs: int) -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=n_envs)).ask()
    sampled = HYPERPARAMS_SAMPLER[algo](trial, 3, n_envs, {"using_her_replay_buffer": False, "her_kwargs": {}})
    assert {"reward_scale", "alpha_lr", "noise_scale", "n_particles"} <= sampled.keys()
    assert HYPERPARAMS_CONVERTER[algo](trial.params) == sampled
    model = ALGORITHMS[algo]("MlpPolicy", "Pendulum-v1", buffer_size=100, device="cpu", **sampled)
    assert model.policy.n_particles == sampled["n_particles"]


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_paper_tasks_have_the_common_regime_and_its_own_arguments(algo: str) -> None:
    own, common = (entries(our_folder() / f"{name}.yml")["myoHandPenTwirlRandom-v0"] for name in (algo, "qflex"))
    assert own == {**common, "n_particles": 32, "alpha_lr": 7e-3}


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_rl_zoo_trains_it_from_our_file(algo: str, tmp_path: Path) -> None:
    own = {"learning_starts": 20, "buffer_size": 200, "n_particles": 2, "policy_kwargs": {"net_arch": [8]}}
    run = ExperimentManager(
        argparse.Namespace(), algo, "Pendulum-v1", str(tmp_path), n_timesteps=60, hyperparams=own, verbose=0,
        device="cpu", eval_freq=-1,
    )  # fmt: skip
    assert run.config == str(our_folder() / f"{algo}.yml")
    setup = run.setup_experiment()
    assert setup is not None
    model = setup[0]
    assert type(model) is ALGORITHMS[algo] and model.n_envs == 5
    run.learn(model)
    run.save_trained_model(model)
    (saved,) = tmp_path.rglob("Pendulum-v1.zip")
    loaded = ALGORITHMS[algo].load(saved, device="cpu")
    assert loaded.n_policy_updates == model.n_policy_updates > 0

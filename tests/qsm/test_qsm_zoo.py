"""QSM in RL Zoo: its tuning space, its files, and a run from them."""

import argparse
from pathlib import Path

import optuna
import pytest
import yaml

from sb3_qflex import QSM
from sb3_qflex.zoo.hyperparameters import our_folder
from sb3_qflex.zoo.registration import register

register()

from rl_zoo3.exp_manager import ExperimentManager  # noqa: E402
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER  # noqa: E402


@pytest.mark.parametrize("n_envs", [1, 80])
def test_what_is_drawn_is_repeated_and_accepted(n_envs: int) -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=n_envs)).ask()
    sampled = HYPERPARAMS_SAMPLER["qsm"](trial, 3, n_envs, {"using_her_replay_buffer": False, "her_kwargs": {}})
    assert HYPERPARAMS_CONVERTER["qsm"](trial.params) == sampled
    model = QSM("MlpPolicy", "Pendulum-v1", buffer_size=100, device="cpu", **sampled)
    assert all(getattr(model, name) == sampled[name] for name in ("q_grad_scale", "action_noise_std", "n_particles"))


def test_rl_zoo_trains_it_from_our_file(tmp_path: Path) -> None:
    own = {"learning_starts": 20, "buffer_size": 200, "policy_kwargs": {"net_arch": [8]}, "n_envs": 1}
    run = ExperimentManager(
        argparse.Namespace(), "qsm", "Pendulum-v1", str(tmp_path), n_timesteps=40, hyperparams=own, verbose=0,
        device="cpu", eval_freq=-1,
    )  # fmt: skip
    assert run.config == str(our_folder() / "qsm.yml")
    setup = run.setup_experiment()
    assert setup is not None
    run.learn(setup[0])
    run.save_trained_model(setup[0])
    (saved,) = tmp_path.rglob("Pendulum-v1.zip")
    loaded = QSM.load(saved, device="cpu")
    assert loaded.n_policy_updates > 0 and loaded.preset == "official"


def test_the_files_have_the_common_regime_with_the_papers_preset() -> None:
    ours, common = (yaml.safe_load((our_folder() / f"{name}.yml").read_text()) for name in ("qsm", "sac"))
    for env_id, entry in common.items():
        assert ours[env_id] == {**entry, "preset": "qflex"}, env_id
    for env_id in set(ours) - set(common):
        assert "preset" not in ours[env_id] and "variant" not in ours[env_id], env_id
    assert (ours["default"]["learning_starts"], ours["Humanoid-v5"]["q_grad_scale"]) == (10_000, 120.0)

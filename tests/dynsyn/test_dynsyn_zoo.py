"""DynSyn in RL Zoo: tuning spaces, runs from its files, and SynergyActions for every algorithm."""

import argparse
from pathlib import Path
from typing import Any

import gymnasium as gym
import optuna
import pytest

from sb3_qflex import DynSynCrossQ, DynSynPPO, DynSynQFlex, DynSynSAC
from sb3_qflex.analysis.trained import algorithm_of
from sb3_qflex.envs import SynergyActions
from sb3_qflex.zoo.hyperparameters import our_folder
from sb3_qflex.zoo.registration import register

register()

from rl_zoo3.exp_manager import ExperimentManager  # noqa: E402
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER  # noqa: E402

ALGORITHMS: dict[str, Any] = {
    "dynsyn_sac": DynSynSAC,
    "dynsyn_crossq": DynSynCrossQ,
    "dynsyn_qflex": DynSynQFlex,
    "dynsyn_ppo": DynSynPPO,
}
GROUPS = [[0, 2], [1, 3]]


def small(algo: str) -> dict[str, Any]:
    """Arguments that keep a run short."""
    return {"n_steps": 16, "batch_size": 16} if algo == "dynsyn_ppo" else {"learning_starts": 20, "buffer_size": 200}


def run_of(algo: str, folder: Path, own: dict[str, Any], **options: Any) -> ExperimentManager:
    own = {**small(algo), **own}
    return ExperimentManager(
        argparse.Namespace(), algo, "PlanarChain-v0", str(folder), n_timesteps=60, hyperparams=own, verbose=0,
        log_interval=-1, device="cpu", eval_freq=-1, env_kwargs={"n_links": 4}, **options,
    )  # fmt: skip


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("n_envs", [1, 80])
def test_what_is_drawn_is_repeated_and_accepted(algo: str, n_envs: int) -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=n_envs)).ask()
    sampled = HYPERPARAMS_SAMPLER[algo](trial, 3, n_envs, {"using_her_replay_buffer": False, "her_kwargs": {}})
    assert HYPERPARAMS_CONVERTER[algo](trial.params) == sampled
    model = ALGORITHMS[algo]("MlpPolicy", "Pendulum-v1", device="cpu", **{**small(algo), **sampled})
    assert (model.weight_k, model.weight_a0) == (sampled["weight_k"], sampled["weight_a0"])


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_rl_zoo_trains_it_from_our_file(algo: str, tmp_path: Path) -> None:
    own = {"n_envs": 2, "policy_kwargs": {"net_arch": [8], "groups": GROUPS}}
    run = run_of(algo, tmp_path, own)
    assert run.config == str(our_folder() / f"{algo}.yml")
    setup = run.setup_experiment()
    assert setup is not None
    model = setup[0]
    assert type(model) is ALGORITHMS[algo] and model.policy.groups == GROUPS
    run.learn(model)
    run.save_trained_model(model)
    (saved,) = tmp_path.rglob("PlanarChain-v0.zip")
    assert algorithm_of(saved) is ALGORITHMS[algo]
    assert ALGORITHMS[algo].load(saved, device="cpu").policy.groups == GROUPS


@pytest.mark.parametrize("algo", ["sac", "ppo"])
def test_yaml_puts_any_algorithm_on_groups(algo: str, tmp_path: Path) -> None:
    wrapper = "{sb3_qflex.envs.SynergyActions: {groups: [[0, 2], [1, 3]]}}"
    entry = f"PlanarChain-v0: {{n_timesteps: 60, policy: MlpPolicy, env_wrapper: [{wrapper}]}}"
    (tmp_path / "entry.yml").write_text(entry)
    run = ExperimentManager(
        argparse.Namespace(), algo, "PlanarChain-v0", str(tmp_path), verbose=0, device="cpu", eval_freq=-1,
        env_kwargs={"n_links": 4}, config=str(tmp_path / "entry.yml"),
    )  # fmt: skip
    setup = run.setup_experiment()
    assert setup is not None
    assert setup[0].action_space == gym.spaces.Box(-1.0, 1.0, (2,))
    assert setup[0].get_env().env_is_wrapped(SynergyActions) == [True]

"""The algorithms with DEP in RL Zoo: entries, tuning spaces, and a run on muscles."""

import argparse
from pathlib import Path
from typing import Any

import gymnasium as gym
import optuna
import pytest
import yaml
from helpers.muscle_env import MuscleEnv

from sb3_qflex import DEPSAC, DEPCrossQ, DEPQFlex
from sb3_qflex.dep.config import PRESETS, DEPConfig
from sb3_qflex.zoo.hyperparameters import our_folder
from sb3_qflex.zoo.registration import register
from sb3_qflex.zoo.trials import over

register()

from rl_zoo3.exp_manager import ExperimentManager  # noqa: E402
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER  # noqa: E402
from rl_zoo3.utils import ALGOS  # noqa: E402

ALGORITHMS = {"dep_sac": DEPSAC, "dep_crossq": DEPCrossQ, "dep_qflex": DEPQFlex}
NO_HER: dict[str, Any] = {"using_her_replay_buffer": False, "her_kwargs": {}}
WRAPPER = "sb3_qflex.envs.MuscleSensors"


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_names(algo: str) -> None:
    assert ALGOS[algo] is ALGORITHMS[algo]


@pytest.mark.parametrize("folder", ["", "small"])
def test_one_regime_which_is_that_of_qflex_but_for_dep(folder: str) -> None:
    place = our_folder() / folder
    contents = [yaml.safe_load((place / f"{algo}.yml").read_text()) for algo in ALGORITHMS]
    assert contents[0] == contents[1] == contents[2]
    qflex = yaml.safe_load((place / "qflex.yml").read_text())
    for env_id, entry in contents[0].items():
        assert entry["env_wrapper"] == WRAPPER
        config = DEPConfig.of(entry["dep"])
        initial = entry["learning_starts"] if config.initial_steps is None else config.initial_steps
        assert initial == entry["learning_starts"]
        own = {"env_wrapper", "dep", "learning_starts"}
        assert {key: value for key, value in entry.items() if key not in own} == {
            key: value for key, value in qflex[env_id].items() if key not in own
        }
    assert contents[0]["myoLegWalk-v0"]["learning_starts"] == (5000 if folder else 200_000)
    assert DEPConfig.of(contents[0]["OstrichRun-v0"]["dep"]).kappa == PRESETS["ostrich"].kappa


@pytest.mark.parametrize("n_envs", [1, 80])
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_tuning_space_and_converter(algo: str, n_envs: int) -> None:
    for seed in range(5):
        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
        sampled = HYPERPARAMS_SAMPLER[algo](trial, 3, n_envs, dict(NO_HER))
        assert HYPERPARAMS_CONVERTER[algo](trial.params) == sampled
        model = ALGORITHMS[algo]("MlpPolicy", MuscleEnv(), buffer_size=100, device="cpu", **sampled)
        assert model.dep == DEPConfig.of(sampled["dep"]) and model.dep.initial_steps is None


@pytest.mark.parametrize("entry", ["ostrich", {"preset": "ostrich", "switching": "initial only"}], ids=str)
def test_what_is_drawn_lies_over_the_entry(entry: Any) -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    with over({"dep": entry}):
        sampled = HYPERPARAMS_SAMPLER["dep_sac"](trial, 3, 1, dict(NO_HER))
    drawn = {name.removeprefix("dep_"): value for name, value in trial.params.items() if name.startswith("dep_")}
    assert DEPConfig.of(sampled["dep"]) == DEPConfig.of(entry).with_changes(**drawn)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_an_entry_trains(algo: str, tmp_path: Path) -> None:
    gym.register("Muscles-v0", MuscleEnv) if "Muscles-v0" not in gym.registry else None
    entry = (
        "{n_timesteps: 60, policy: MlpPolicy, n_envs: 2, learning_starts: 20, batch_size: 8, buffer_size: 100, "
        "dep: {preset: ostrich, initial_steps: null}, policy_kwargs: 'dict(net_arch=[8])'}"
    )
    config = tmp_path / "conf.yml"
    config.write_text(f"Muscles-v0: {entry}")
    run = ExperimentManager(
        argparse.Namespace(), algo, "Muscles-v0", str(tmp_path), verbose=0, device="cpu", config=str(config),
        eval_freq=-1, log_interval=-1,
    )  # fmt: skip
    setup = run.setup_experiment()
    assert setup is not None
    run.learn(setup[0])
    run.save_trained_model(setup[0])
    loaded = ALGORITHMS[algo].load(Path(run.save_path) / "Muscles-v0.zip", device="cpu")
    assert loaded.dep.kappa == 20.0 and loaded._dep.switch.steps == 60

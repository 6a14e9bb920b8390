"""One call makes another off-policy algorithm known to RL Zoo, with all that QFlex has there."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from helpers.places import TESTS
from stable_baselines3 import PPO, SAC

from sb3_qflex import QFlex
from sb3_qflex.cli import main as command
from sb3_qflex.studies.definition import load_study
from sb3_qflex.studies.plan import plan_runs
from sb3_qflex.studies.run_folder import RunFolder
from sb3_qflex.studies.runner import Runner
from sb3_qflex.zoo import compare, registration
from sb3_qflex.zoo.algorithms import ALGORITHMS, class_of
from sb3_qflex.zoo.hyperparameters import our_file
from sb3_qflex.zoo.registration import register, register_algorithm

register()

from rl_zoo3.exp_manager import ExperimentManager  # noqa: E402
from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER  # noqa: E402
from rl_zoo3.utils import ALGOS  # noqa: E402

REPOSITORY = Path(command.__file__).parents[2]
ENTRY = (
    "n_timesteps: 100, policy: MlpPolicy, learning_starts: 50, buffer_size: 500, policy_kwargs: 'dict(net_arch=[8])'"
)
MODULE = '''
"""What a user writes: a class, and the one call."""
from pathlib import Path

from stable_baselines3 import SAC

from sb3_qflex.zoo.registration import register_algorithm


class Mine(SAC):
    def __init__(self, *args, my_option=1, **kwargs):
        super().__init__(*args, **kwargs)
        print(f"{my_option=}")


register_algorithm("mine", Mine, hyperparameters=Path(__file__).with_name("mine.yml"))
'''
STUDY = (
    "{title: t, text: t, budget: 100, evaluation: {every: 50, episodes: 1}, tasks: {pendulum: {env: Pendulum-v1}}, "
    "algorithms: {mine: {algo: mine}}, seeds: [0], regime: small}"
)


class Mine(SAC):
    def __init__(self, *args: Any, my_option: int = 1, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.my_option = my_option


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """What a test registers as "mine" is gone after it."""
    yield
    ALGORITHMS.pop("mine", None)
    registration._forget("mine")
    sys.modules.pop("mine", None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yml"
    path.write_text(f"Pendulum-v1: {{{ENTRY}, my_option: 3}}")
    return path


def experiment(folder: Path, algo: str, **kwargs: Any) -> ExperimentManager:
    return ExperimentManager(argparse.Namespace(), algo, "Pendulum-v1", str(folder), verbose=0, device="cpu", **kwargs)


def test_compare_trains_it_in_a_process_that_imports_its_module(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{tmp_path}")
    monkeypatch.setenv("SB3_QFLEX_ZOO", "0")
    monkeypatch.setenv("SB3_QFLEX_ALGORITHMS", "mine")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "EVALUATIONS", 1)
    command.main(["compare", "--env", "Pendulum-v1", "--steps", "400", "--eval-episodes", "1", "--algos", "mine"])
    table = (tmp_path / "logs/compare_Pendulum-v1_1.csv").read_text().splitlines()
    assert table[1].startswith("mine,0,400,")
    assert "my_option=3" in (tmp_path / "logs/mine_Pendulum-v1_1.log").read_text()
    assert (tmp_path / "logs/mine/Pendulum-v1_1/progress.csv").is_file()


def test_a_study_trains_one_that_is_built_on_our_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = "n_timesteps: 100, policy: MlpPolicy, learning_starts: 50, buffer_size: 500, policy_delay: 1"
    (tmp_path / "mine.yml").write_text(f"default: {{{entry}}}")
    (tmp_path / "mine.py").write_text(
        "from sb3_qflex.zoo.registration import register_algorithm\n"
        "register_algorithm('mine', 'helpers.small_td3:SmallTD3', hyperparameters=__file__.replace('.py', '.yml'))"
    )
    (tmp_path / "study.yml").write_text(STUDY)
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{TESTS}:{tmp_path}")
    monkeypatch.setenv("SB3_QFLEX_ALGORITHMS", "mine")
    monkeypatch.syspath_prepend(tmp_path)
    (plan,) = plan_runs(load_study(str(tmp_path / "study.yml")))
    run = RunFolder(plan, tmp_path / "runs")
    Runner([run], 1).run()
    record = run.done()
    assert record is not None and (record["steps"], record["updates"]) == (100, 50)
    assert (run.path / record["zoo folder"] / "progress.csv").is_file()


def test_rl_zoo_knows_all_of_it(tmp_path: Path, file: Path) -> None:
    register_algorithm("mine", Mine, hyperparameters=file)
    run = experiment(tmp_path, "mine", eval_freq=-1)
    assert run.config == str(file)
    setup = run.setup_experiment()
    assert setup is not None
    assert type(setup[0]) is Mine and setup[0].my_option == 3
    assert [type(callback).__name__ for callback in run.callbacks] == ["ProgressFile"]


def test_its_entries_are_checked(tmp_path: Path, file: Path) -> None:
    register_algorithm("mine", Mine, hyperparameters=file)
    with pytest.raises(ValueError, match="'my_optoin', did you mean 'my_option'"):
        experiment(tmp_path, "mine", hyperparams={"my_optoin": 3}).setup_experiment()
    with pytest.raises(ValueError, match="n_envs must be a whole number"):
        experiment(tmp_path, "mine", hyperparams={"n_envs": "two"}).setup_experiment()
    # SAC has gSDE.
    model, _ = experiment(tmp_path, "mine", hyperparams={"use_sde": True}).setup_experiment()  # type: ignore[misc]
    assert model.use_sde


def test_it_is_tuned_in_the_common_space_or_its_own(file: Path) -> None:
    register_algorithm("mine", Mine, hyperparameters=file)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    sampled = HYPERPARAMS_SAMPLER["mine"](trial, 1, 1, {"using_her_replay_buffer": False, "her_kwargs": {}})
    assert HYPERPARAMS_CONVERTER["mine"](trial.params) == sampled
    assert Mine("MlpPolicy", "Pendulum-v1", buffer_size=100, device="cpu", **sampled).gamma == sampled["gamma"]

    register_algorithm("mine", Mine, sample_params=lambda *_: {"my_option": 7}, convert_params=lambda _: {})
    assert HYPERPARAMS_SAMPLER["mine"](trial, 1, 1, {}) == {"my_option": 7}
    assert HYPERPARAMS_CONVERTER["mine"]({}) == {}


def test_a_study_and_both_regimes_find_its_files(tmp_path: Path, file: Path) -> None:
    study = tmp_path / "study.yml"
    study.write_text(STUDY)
    register_algorithm("mine", Mine, hyperparameters=file)
    assert [run.hyperparameters["my_option"] for run in plan_runs(load_study(str(study)))] == [3]
    assert our_file("mine") == our_file("mine", "small") == file
    register_algorithm("mine", Mine, hyperparameters=tmp_path)
    assert (our_file("mine"), our_file("mine", "small")) == (file, tmp_path / "small/mine.yml")


@pytest.mark.parametrize(
    ("arguments", "kwargs", "error", "message"),
    [
        (("sac", Mine), {}, ValueError, "--algo sac is SAC in RL Zoo already: choose another name"),
        (("a/b", Mine), {}, ValueError, "name must be letters, digits"),
        (("mine", PPO), {}, TypeError, "no off-policy algorithm"),
        (("mine", "stable_baselines3:PPO"), {}, TypeError, "'stable_baselines3:PPO' is no off-policy algorithm"),
        (("mine", Mine), {"hyperparameters": "nowhere"}, ValueError, "neither a YAML file nor a folder with mine.yml"),
    ],
)
def test_what_cannot_be_registered(
    arguments: tuple[str, Any], kwargs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        register_algorithm(*arguments, **kwargs)
    assert "mine" not in ALGORITHMS and ALGOS["sac"] is SAC


def test_without_a_file_it_says_how_to_give_one(tmp_path: Path, file: Path) -> None:
    register_algorithm("mine", "stable_baselines3:SAC")
    with pytest.raises(ValueError, match=r"no hyperparameters for 'mine'.*-conf.*register_algorithm"):
        experiment(tmp_path, "mine")
    assert experiment(tmp_path, "mine", config=str(file)).config == str(file)


def test_another_class_under_our_name_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert class_of("qflex") is QFlex
    monkeypatch.setitem(ALGOS, "qflex", SAC)
    assert class_of("qflex") is None
    run = experiment(tmp_path, "qflex", hyperparams={"my_own": 1}, eval_freq=-1)
    assert run.read_hyperparameters()[0]["my_own"] == 1
    run.create_callbacks()
    assert run.callbacks == []

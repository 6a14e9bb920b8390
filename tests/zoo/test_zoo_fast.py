"""The files of the fast regime: learners for one core, whose policies are small enough to ship."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch as th
import yaml

from sb3_qflex import QFlex
from sb3_qflex.cli import compare as compare_command
from sb3_qflex.studies.definition import load_study
from sb3_qflex.studies.plan import plan_runs
from sb3_qflex.zoo import compare
from sb3_qflex.zoo.hyperparameters import our_file, our_folder
from sb3_qflex.zoo.registration import register

register()

from rl_zoo3.exp_manager import ExperimentManager  # noqa: E402

FILE = our_folder() / "fast/qflex.yml"
ENTRIES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())
TRAINED = (
    "myoHandPenTwirlRandom-v0",
    "myoHandKeyTurnRandom-v0",
    "myoHandObjHoldRandom-v0",
    "myoTorsoPoseFixed-v0",
    "myoLegStandRandom-v0",
    "myoHandReachRandom-v0",
    "myoArmReachRandom-v0",
)
#: Bytes of a policy file, with matrices in half precision.
LARGEST_POLICY = 2_000_000


def test_the_regime_is_known() -> None:
    assert our_file("qflex", "fast") == FILE
    args = compare_command.parse("compare", ["--env", "Pendulum-v1", "--algos", "qflex", "--regime", "fast"])
    words = compare.train_command(args, "qflex", seed=0)
    assert Path(words[words.index("-conf") + 1]).resolve() == FILE


@pytest.mark.parametrize("task", TRAINED)
def test_an_entry_trains_the_source_alone_on_the_task_with_its_success(task: str, tmp_path: Path) -> None:
    pytest.importorskip("myosuite", reason="the tasks are MyoSuite's")
    assert ENTRIES[task]["exploration"] == "source"
    changes = {"n_envs": 2, "buffer_size": 100}
    run = ExperimentManager(
        None, "qflex", task, str(tmp_path), verbose=0, config=str(FILE), hyperparams=changes, eval_freq=-1, device="cpu"
    )  # fmt: skip
    run._save_config = lambda saved: None  # type: ignore[method-assign]
    found = run.setup_experiment()
    assert found is not None
    model = found[0]
    assert isinstance(model, QFlex)
    weights = [parameter for parameter in model.policy.actor.parameters() if parameter.ndim == 2]
    assert sum(weight.numel() for weight in weights) * th.finfo(th.float16).bits // 8 < LARGEST_POLICY
    env = model.get_env()
    assert env is not None
    env.reset()
    infos = env.step([env.action_space.sample() for _ in range(2)])[3]  # type: ignore[arg-type]
    assert all("is_success" in info for info in infos)


def test_the_learning_rate_falls_to_zero_unless_an_entry_says_otherwise() -> None:
    assert ENTRIES["default"]["learning_rate"].startswith("lin_")


def test_the_settings_study_changes_one_thing_at_a_time() -> None:
    study = load_study("settings")
    assert {task.env for task in study.tasks} < set(ENTRIES)
    runs = plan_runs(study)
    assert len(runs) == len(study.tasks) * len(study.contenders) * 5
    assert {len(contender.seeds) for contender in study.contenders} == {5}
    first, *others = study.contenders
    assert not first.hyperparameters
    assert all(contender.hyperparameters for contender in others)
    assert all(gym.spec(task.env) for task in study.tasks)

"""The files of the fast regime: learners for one core, whose policies are small enough to ship."""

import re
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
    "myoHandReorient8-v0",
    "myoHandReorient100-v0",
    "myoHandReachRandom-v0",
    "myoArmReachRandom-v0",
    "myoElbowPose1D6MRandom-v0",
    "myoFingerPoseRandom-v0",
)
ALGORITHMS = sorted(path.stem for path in (our_folder() / "small").glob("*.yml"))
ON_PPO = ("ppo", "dynsyn_ppo", "lattice_ppo", "lattice_ppo_lstm")
#: What makes runs comparable.
REGIME = {
    "n_timesteps", "n_envs", "train_freq", "gradient_steps", "learning_starts", "batch_size", "buffer_size", "gamma",
    "learning_rate", "n_steps",
}  # fmt: skip
#: Keys in which an algorithm's entries differ from those of QFlex, beside such as it does not have.
OWN = {
    "flowrl": {"policy_kwargs", "expectile"},
    "qsm": {"preset"},
    "dacer": {"preset"},
    **{f"dep_{base}": {"dep", "env_wrapper"} for base in ("sac", "crossq", "qflex")},
    **{f"dynsyn_{base}": {"policy_kwargs"} for base in ("sac", "crossq", "qflex")},
}
WITHOUT_MUSCLES = ("H1Run-v0", "H1BalanceSimple-v0", "SMPLHumanoidJump-v0", "PlanarChain-v0")
SENSORS = "sb3_qflex.envs.MuscleSensors"
#: SB3's and sb3-contrib's own classes pass no environment to a buffer, and do not fit RepeatUntil.
NOT_OURS = ("sac", "tqc", "crossq")
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


def entries_of(algo: str) -> dict[str, dict[str, Any]]:
    return yaml.safe_load(our_file(algo, "fast").read_text())


def expected_of(algo: str, env_id: str) -> dict[str, Any]:
    """QFlex's entry, or one without held actions where the algorithm cannot end them."""
    plain = "callback" in ENTRIES[env_id] and algo in (*NOT_OURS, *ON_PPO)
    return ENTRIES["myoLegWalk-v0" if plain else env_id]


@pytest.mark.parametrize("algo", sorted({*ALGORITHMS} - {*ON_PPO}))
def test_every_algorithm_has_the_regime_of_qflex(algo: str) -> None:
    content, own = entries_of(algo), OWN.get(algo, set())
    with_muscles = {env_id for env_id in ENTRIES if env_id not in WITHOUT_MUSCLES}
    assert set(content) == (with_muscles if algo.startswith("dep_") else set(ENTRIES))
    for env_id, entry in content.items():
        expected = expected_of(algo, env_id)
        assert entry.keys() - expected.keys() <= own
        assert expected.keys() - entry.keys() <= {"exploration", "policy_delay", "ent_coef", "replay_buffer_class"}
        assert {key for key, value in entry.items() if value != expected.get(key)} <= own, env_id
        assert entry.keys() >= REGIME
        assert ("replay_buffer_class" in entry) == ("replay_buffer_class" in expected and algo not in NOT_OURS)


@pytest.mark.parametrize("algo", ["dep_sac", "dep_crossq", "dep_qflex"])
def test_dep_adds_the_sensors_of_muscles_to_the_wrappers(algo: str) -> None:
    for env_id, entry in entries_of(algo).items():
        wrappers = entry["env_wrapper"] if isinstance(entry["env_wrapper"], list) else [entry["env_wrapper"]]
        assert [one for one in wrappers if one != SENSORS] == ENTRIES[env_id].get("env_wrapper", [])
        assert SENSORS in wrappers


@pytest.mark.parametrize("algo", ["dynsyn_sac", "dynsyn_crossq", "dynsyn_qflex", "dynsyn_ppo"])
def test_groups_are_those_of_the_body(algo: str) -> None:
    known = yaml.safe_load((our_folder() / "small/dynsyn_sac.yml").read_text())
    for env_id, entry in entries_of(algo).items():
        here, there = (re.findall(r"groups='(\w+)'", one["policy_kwargs"]) for one in (entry, known.get(env_id, entry)))
        assert here == there, env_id
        if env_id.startswith("myoHand"):
            assert here == ["myoHand"], env_id


@pytest.mark.parametrize("algo", ON_PPO)
def test_ppo_has_the_same_environments_and_budgets(algo: str) -> None:
    content = entries_of(algo)
    assert list(content) == list(ENTRIES)
    for env_id, entry in content.items():
        for key in ("n_timesteps", "n_envs", "gamma", "env_wrapper", "normalize"):
            assert entry.get(key) == expected_of(algo, env_id).get(key), (env_id, key)


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
    assert all(contender.hyperparameters or contender.algo != first.algo for contender in others)
    assert all(gym.spec(task.env) for task in study.tasks)

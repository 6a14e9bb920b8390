"""Which YAML file a run reads, and that every entry of ours builds its model."""

import re
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium import spaces

from sb3_qflex.envs import CATALOGUE, DistanceGoals
from sb3_qflex.envs.synergies.groups import read_groups
from sb3_qflex.zoo.hyperparameters import choose_file, entries, our_folder, zoo_folder
from sb3_qflex.zoo.registration import register

register()

from rl_zoo3.exp_manager import ExperimentManager  # noqa: E402
from rl_zoo3.utils import ALGOS  # noqa: E402

FILES = sorted(our_folder().rglob("*.yml"))
PAPER_TASKS = [
    "myoHandPenTwirlRandom-v0",
    "myoLegWalk-v0",
    "myoTorsoPoseFixed-v0",
    "myoMuscleMimicFullbody-v0",
    "myoChallengeSoccerP1-v0",
    "myoLegStandRandom-v0",
    "myoLegDirectionalForward-v0",
    "myoHandReorient100-v0",
    "myoArmReachRandom-v0",
]
DYNSYN = ("dynsyn_sac", "dynsyn_crossq", "dynsyn_qflex")
LATTICE = ("lattice_sac", "lattice_crossq", "lattice_qflex")
ON_PPO = ("dynsyn_ppo", "lattice_ppo", "lattice_ppo_lstm")
# DEP needs muscles.
WITHOUT_MUSCLES = {"H1Run-v0", "H1BalanceSimple-v0", "SMPLHumanoidJump-v0", "PlanarChain-v0"}
SHARED = {
    "n_envs": 80,
    "train_freq": 1,
    "gradient_steps": 1,
    "learning_starts": 30_000,
    "batch_size": 256,
    "gamma": 0.99,
}


class Body(gym.Env):
    """A few muscles; what an entry is built on when its own environment does not matter."""

    # Of MuJoCo's model and data as much as the wrapper of muscle sensors looks at.
    model = SimpleNamespace(nu=3, actuator_trntype=np.full(3, 3), actuator_dyntype=np.full(3, 4))
    data = SimpleNamespace(actuator_length=np.ones(3), actuator_force=np.zeros(3))

    observation_space = spaces.Box(-np.inf, np.inf, (5,), np.float32)
    hindsight_goals = DistanceGoals(size=5, reached=slice(0, 1), error=slice(1, 2), near=(0.1,))

    def __init__(self, n_actuators: int = 3) -> None:
        self.action_space = spaces.Box(-1.0, 1.0, (n_actuators,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(5, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(5, np.float32), 0.0, False, False, {}


def write(folder: Path, algo: str, *keys: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{algo}.yml"
    path.write_text(yaml.safe_dump({key: {"policy": "MlpPolicy"} for key in keys}))
    return path


@pytest.mark.parametrize(
    ("zoo_keys", "our_keys", "expected"),
    [
        (("A-v0",), ("A-v0",), "zoo"),
        (("A-v0",), ("default",), "zoo"),
        (("default",), ("A-v0",), "ours"),
        (("default",), ("default",), "zoo"),
        (("default", "B-v0"), ("default", "A-v0"), "ours"),
        (None, ("default",), "ours"),
        (None, ("A-v0",), "ours"),
        (("default",), None, "zoo"),
    ],
)
def test_choice(
    tmp_path: Path, zoo_keys: tuple[str, ...] | None, our_keys: tuple[str, ...] | None, expected: str
) -> None:
    for folder, keys in (("zoo", zoo_keys), ("ours", our_keys)):
        if keys is not None:
            write(tmp_path / folder, "qflex", *keys)
            write(tmp_path / folder, "algo", *keys)
    path, _ = choose_file("qflex", "A-v0", ours=tmp_path / "ours", zoo=tmp_path / "zoo")
    assert path == tmp_path / expected / "qflex.yml"
    # For an algorithm of others ours is taken for its very id only: without any file RL Zoo says that there is none.
    path, _ = choose_file("algo", "A-v0", ours=tmp_path / "ours", zoo=tmp_path / "zoo")
    has_it = our_keys is not None and "A-v0" in our_keys
    assert path == tmp_path / (expected if has_it else "zoo") / "algo.yml"


def test_the_file_not_taken_is_named(tmp_path: Path) -> None:
    ours, _ = write(tmp_path / "ours", "algo", "A-v0"), write(tmp_path / "zoo", "algo", "A-v0")
    _, hint = choose_file("algo", "A-v0", ours=tmp_path / "ours", zoo=tmp_path / "zoo")
    assert hint.endswith(f"-conf {ours}")


@pytest.mark.parametrize(("algo", "env_id"), [("sac", "Pendulum-v1"), ("crossq", "Ant-v4"), ("ppo", "CartPole-v1")])
def test_rl_zoos_own_entries_stay_as_they_are(algo: str, env_id: str) -> None:
    assert env_id in entries(zoo_folder() / f"{algo}.yml")
    assert choose_file(algo, env_id) == (zoo_folder() / f"{algo}.yml", "")


@pytest.mark.parametrize("env_id", PAPER_TASKS)
def test_paper_tasks_take_ours(env_id: str) -> None:
    for algo in ("qflex", "sac", "crossq", "tqc", "ppo"):
        assert choose_file(algo, env_id)[0] == our_folder() / f"{algo}.yml"


#: Of DynSyn's weights of single muscles.
SCHEDULE = ("weight_k", "weight_a0")


def without_dynsyn(content: dict[str, dict]) -> dict[str, dict]:
    """Entries without what DynSyn adds: groups of muscles, and when their weights come in."""
    text = yaml.safe_dump(content, sort_keys=False, width=1000)
    others = yaml.safe_load(re.sub(r", groups='\w+'", "", text))
    return {id: {key: value for key, value in one.items() if key not in SCHEDULE} for id, one in others.items()}


def test_off_policy_algorithms_share_one_regime() -> None:
    algorithms = ("qflex", "sac", "crossq", "tqc", "maxinfo_sac", "maxinfo_crossq", *LATTICE, *DYNSYN)
    contents = {algo: without_dynsyn(entries(our_folder() / f"{algo}.yml")) for algo in algorithms}
    for env_id in PAPER_TASKS:
        entry = contents["qflex"][env_id]
        assert entry.items() >= SHARED.items()
        assert all(content[env_id] == entry for content in contents.values())


@pytest.mark.parametrize("folder", ["", "small"])
@pytest.mark.parametrize("algo", ON_PPO)
def test_methods_on_ppo_have_its_regime(algo: str, folder: str) -> None:
    ppo, ours = (without_dynsyn(entries(our_folder() / folder / f"{name}.yml")) for name in ("ppo", algo))
    policy = "MlpLstmPolicy" if algo.endswith("lstm") else "MlpPolicy"
    assert ours == {env_id: {**entry, "policy": policy} for env_id, entry in ppo.items()}


@pytest.mark.parametrize("folder", ["", "small"])
def test_groups_and_schedule_are_those_of_the_body_whatever_they_stand_on(folder: str) -> None:
    files = [entries(our_folder() / folder / f"{algo}.yml") for algo in (*DYNSYN, "dynsyn_ppo")]
    of_sac, *others = [
        {
            env_id: [*re.findall(r"groups='\w+'", entry["policy_kwargs"]), *(entry.get(key) for key in SCHEDULE)]
            for env_id, entry in file.items()
        }
        for file in files
    ]
    assert of_sac["myoLegWalk-v0"] == ["groups='myoLeg'", None, None] and all(one == of_sac for one in others)


def test_small_machine_files_share_one_regime() -> None:
    files = our_folder().glob("small/*.yml")
    contents = {path.stem: without_dynsyn(yaml.safe_load(path.read_text())) for path in files}
    # tests/dep has those with DEP; those on PPO have its regime.
    contents = {
        name: content for name, content in contents.items() if not name.startswith("dep_") and name not in ON_PPO
    }
    for name in ("qsm", "dacer"):
        # In the same regime, what the paper compares with.
        expected = {env_id: {**entry, "preset": "qflex"} for env_id, entry in contents["sac"].items()}
        assert contents.pop(name) == expected
    ppo = contents.pop("ppo")
    siblings = {"qflex", "sac", "crossq", "tqc", "maxinfo_sac", "maxinfo_crossq", "sdac", "dpmd", *LATTICE, *DYNSYN}
    assert set(contents) == siblings | {"flowrl"}
    assert set(contents["qflex"]) >= {"default", *PAPER_TASKS}
    assert all(contents[algo] == contents["qflex"] for algo in siblings)
    # Methods with settings of their own share what makes them comparable.
    regime = ("n_timesteps", "n_envs", "vec_env", "train_freq", "gradient_steps", "batch_size", "buffer_size", "gamma")
    for algo in set(contents) - siblings:
        assert list(contents[algo]) == list(contents["qflex"])
        for env_id, entry in contents["qflex"].items():
            assert contents[algo][env_id].items() >= {name: entry[name] for name in regime}.items(), (algo, env_id)
    assert list(ppo) == list(contents["qflex"])
    for env_id, entry in ppo.items():
        shared = {name: entry[name] for name in ("n_timesteps", "n_envs", "vec_env")}
        assert contents["qflex"][env_id].items() >= shared.items()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(our_folder())))
def test_every_environment_of_ours_has_an_entry_with_the_memory_it_needs(path: Path) -> None:
    content, text = entries(path), path.read_text()
    catalogue = [one for one in CATALOGUE if not (path.stem.startswith("dep_") and one.id in WITHOUT_MUSCLES)]
    assert set(content) >= {entry.id for entry in catalogue}
    for entry in catalogue if "buffer_size" in content[CATALOGUE[0].id] else ():
        # Two observations, the action, reward, end and truncation of each transition, in float32.
        size = 4 * (2 * entry.observations + entry.actions + 3) * content[entry.id]["buffer_size"]
        assert re.search(rf"^{entry.id}:.*# replay buffer {size / 1e9:.2f} GB$", text, re.MULTILINE), entry.id


def manager(tmp_path: Path, algo: str, env_id: str, config: str | None = None) -> ExperimentManager:
    return ExperimentManager(None, algo, env_id, str(tmp_path), verbose=0, config=config)


def test_experiment_manager_takes_our_file_and_says_where_small_one_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gym.register("myoHandPenTwirlRandom-v0", Body) if "myoHandPenTwirlRandom-v0" not in gym.registry else None
    chosen = manager(tmp_path, "sac", "myoHandPenTwirlRandom-v0").config
    assert chosen == str(our_folder() / "sac.yml")
    assert str(our_folder() / "small" / "sac.yml") in capsys.readouterr().out


def test_conf_wins(tmp_path: Path) -> None:
    assert manager(tmp_path, "qflex", "Pendulum-v1", config="mine.yml").config == "mine.yml"
    zoo_file = str(zoo_folder() / "sac.yml")
    assert manager(tmp_path, "sac", "Pendulum-v1", config=zoo_file).config == zoo_file


def test_other_algorithms_are_left_alone(tmp_path: Path) -> None:
    assert manager(tmp_path, "td3", "Pendulum-v1").config == str(zoo_folder() / "td3.yml")


def n_actuators(entry: dict) -> int:
    """As many as the entry's groups hold."""
    groups = re.search(r"groups='(\w+)'", entry.get("policy_kwargs", ""))
    return sum(map(len, read_groups(groups[1]))) if groups else 3


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(our_folder())))
def test_every_entry_builds_its_model(path: Path, tmp_path: Path) -> None:
    gym.register("Body-v0", Body, max_episode_steps=10) if "Body-v0" not in gym.registry else None
    content = yaml.safe_load(path.read_text())
    if path.stem.startswith("dep_"):
        pytest.importorskip("mujoco", reason="muscles are MuJoCo's")
    # Entries with equal settings build equal models.
    for entry in {yaml.safe_dump(entry): entry for entry in content.values()}.values():
        experiment = manager(tmp_path, path.stem, "Body-v0", config=str(path))
        # Workers start slowly and change no model.
        assert entry.pop("vec_env", "worker") == "worker"
        hyperparams, *_ = experiment._preprocess_hyperparams({**entry, "n_envs": 2})
        hyperparams |= {"buffer_size": 100} if "buffer_size" in entry else {}
        experiment.env_kwargs = {"n_actuators": n_actuators(entry)}
        model = ALGOS[path.stem](env=experiment.create_envs(2, no_log=True), device="cpu", **hyperparams)
        assert model.n_envs == 2
        assert model.gamma == entry.get("gamma", 0.99)


@pytest.mark.parametrize("env_id", ["myoHandPenTwirlRandom-v0", "myoLegWalk-v0"])
def test_ids_of_ours_are_those_of_myosuite(env_id: str, tmp_path: Path) -> None:
    pytest.importorskip("myosuite", reason="the ids are MyoSuite's")
    ids = {key for path in FILES for key in entries(path)}
    assert env_id in ids
    assert ids <= set(gym.registry)

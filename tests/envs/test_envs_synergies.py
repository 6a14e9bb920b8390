"""Groups of muscles: how they are found (known answers of the paper's measure), kept, checked and acted through."""

import json
import pickle
from pathlib import Path

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.mujoco import MujocoEnv
from helpers.envs_assets import needs

import sb3_qflex.envs
from sb3_qflex.cli import main as command
from sb3_qflex.envs import CATALOGUE, SynergyActions
from sb3_qflex.envs.synergies.clustering import find_groups, k_medoids, similarity
from sb3_qflex.envs.synergies.finder import model_hash, synergies
from sb3_qflex.envs.synergies.groups import load_groups, preset_names
from sb3_qflex.envs.synergies.recording import Motion, record_lengths

#: Two hinges, each with two tendons that are mirror images of each other in the plane it turns in; and a ball that
#: could only fall.
ARM = """
<mujoco>
  <option timestep="0.002"/>
  <default><muscle ctrlrange="0 1"/></default>
  <worldbody>
    <body name="ball" pos="0.3 0 1"><freejoint/><geom type="sphere" size="0.05"/></body>
    <site name="o1" pos="0.05 0.02 1"/><site name="o2" pos="0.05 -0.02 1"/>
    <body pos="0 0 1">
      <joint name="upper" axis="0 1 0" range="-1 1" limited="true" damping="0.1"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.02" mass="1"/>
      <site name="i1" pos="0.05 0.02 -0.2"/><site name="i2" pos="0.05 -0.02 -0.2"/>
      <body pos="0 0 -0.3">
        <joint name="lower" axis="0 1 0" range="-1 1" limited="true" damping="0.1"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.02" mass="1"/>
        <site name="j1" pos="0.05 0.02 -0.2"/><site name="j2" pos="0.05 -0.02 -0.2"/>
      </body>
      <site name="p1" pos="0.05 0.02 -0.25"/><site name="p2" pos="0.05 -0.02 -0.25"/>
    </body>
  </worldbody>
  <tendon>
    <spatial name="u1"><site site="o1"/><site site="i1"/></spatial>
    <spatial name="l1"><site site="p1"/><site site="j1"/></spatial>
    <spatial name="u2"><site site="o2"/><site site="i2"/></spatial>
    <spatial name="l2"><site site="p2"/><site site="j2"/></spatial>
  </tendon>
  <actuator>
    <muscle name="u1" tendon="u1"/><muscle name="l1" tendon="l1"/>
    <muscle name="u2" tendon="u2"/><muscle name="l2" tendon="l2"/>
  </actuator>
</mujoco>
"""


class Arm(MujocoEnv):
    """The two hinges as an environment, with a few steps of simulation each."""

    metadata = {"render_modes": [], "render_fps": 100}  # noqa: RUF012

    def __init__(self, folder: Path, model: str = ARM) -> None:
        (folder / "arm.xml").write_text(model)
        space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        super().__init__(str(folder / "arm.xml"), 5, space)

    def reset_model(self) -> np.ndarray:
        return np.zeros(1)

    def step(self, action):
        raise AssertionError("only the simulation is used")


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    return Arm(tmp_path)


# --- Similarity and clusters ---


def test_similarity_of_agonists_antagonists_and_strangers() -> None:
    u, v = np.random.default_rng(0).uniform(0.0, 1.0, (2, 50_000))
    matrix = similarity(np.stack([3.0 * u + 7.0, u, 1.0 - u, v], axis=1))
    assert matrix[0, 1] == pytest.approx(1.0, abs=1e-6)
    assert matrix[1, 2] == pytest.approx(0.5, abs=0.005)
    assert matrix[1, 3] == pytest.approx(0.75, abs=0.005)
    np.testing.assert_allclose(matrix, matrix.T)


def test_windows_are_compared_each_by_itself() -> None:
    # In the first window both are 1, in the second orthogonal: cosines 1 and 0.
    first, second = np.zeros((2, 200))
    first[:100] = second[:100] = 1.0
    first[100::2], second[101::2] = 1.0, 1.0
    assert similarity(np.stack([first, second], axis=1))[0, 1] == pytest.approx(0.5)
    assert similarity(np.stack([first, second], axis=1), window=200)[0, 1] == pytest.approx(100 / 150)


def test_muscles_that_never_move_are_like_each_other() -> None:
    rounding = 1e-7 * np.random.default_rng(0).standard_normal((100, 2))
    lengths = np.stack([np.linspace(0.0, 1.0, 100), *(np.array([[0.3, 0.5]]) + rounding).T], axis=1)
    np.testing.assert_allclose(similarity(lengths), [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match="99 steps are less than one window of 100: record more"):
        similarity(lengths[:99])


@pytest.mark.parametrize("seed", range(5))
def test_blocks_of_noisy_copies_are_recovered(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = rng.permutation(np.repeat(np.arange(4), 3))
    lengths = rng.uniform(0.0, 1.0, (5000, 4))[:, blocks] + 0.02 * rng.standard_normal((5000, 12))
    groups = find_groups(similarity(lengths), 4, seed=seed)
    assert groups == sorted(np.flatnonzero(blocks == block).tolist() for block in range(4))


@pytest.mark.parametrize("k", [1, 3, 12])
def test_k_medoids_ends_where_no_swap_helps(k: int) -> None:
    points = np.random.default_rng(1).uniform(0.0, 1.0, (12, 2))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    inertia, owner = k_medoids(distances, k, seed=0)
    assert len(set(owner.tolist())) == k
    clusters = [np.flatnonzero(owner == number) for number in range(k)]
    medoids = [int(c[distances[np.ix_(c, c)].sum(axis=0).argmin()]) for c in clusters]
    assert inertia == pytest.approx(distances[:, medoids].min(axis=1).sum())
    for position in range(k):
        for other in set(range(12)) - set(medoids):
            swapped = [*medoids[:position], other, *medoids[position + 1 :]]
            assert distances[:, swapped].min(axis=1).sum() >= inertia - 1e-9


def test_the_most_frequent_result_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {0: (2.0, [0, 0, 1]), 1: (1.0, [0, 1, 1]), 2: (2.0 + 1e-13, [0, 1, 0]), 3: (1.5, [1, 0, 0])}
    found = {seed: (inertia, np.array(owner)) for seed, (inertia, owner) in owners.items()}
    monkeypatch.setattr("sb3_qflex.envs.synergies.clustering.k_medoids", lambda distances, k, seed: found[seed])
    assert find_groups(np.eye(3), 2, n_seeds=4) == [[0, 1], [2]]
    # Equally frequent: the smallest.
    assert find_groups(np.eye(3), 2, n_seeds=2) == [[0], [1, 2]]


# --- Recording ---


def test_mirrored_pairs_are_found(arm: Arm) -> None:
    found = synergies(arm, 2, steps=2000, seed=0, motion=Motion())
    assert found["groups"] == [[0, 2], [1, 3]]
    assert found["actuators"] == ["u1", "l1", "u2", "l2"]
    assert found["similarity"][0][2] > 0.9999 > found["similarity"][0][1]
    assert (found["steps"], found["seed"], found["k"], found["divergences"]) == (2000, 0, 2, 0)


def test_a_recording_is_a_function_of_its_seed(arm: Arm) -> None:
    first, again, other = (record_lengths(arm, 50, seed, Motion())[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert not arm.data.qvel.any() and arm.data.time == 0.0


def test_the_root_is_held_where_it_can_travel(tmp_path: Path) -> None:
    # Motors, since the length of these tendons has no bounds; they pull on tendons as muscles do.
    model = ARM.replace('<body pos="0 0 1">', '<body pos="0 0 1"><joint name="z" type="slide" axis="0 0 1"/>')
    free = Arm(tmp_path, model.replace("<muscle name", "<motor name"))
    # Five steps of dt from rest fall by (1 + 2 + 3 + 4 + 5) g dt^2. The lengths of the upper tendons, whose other ends
    # are fixed in the world, tell how far.
    fall = 15 * 9.81 * 0.002**2
    fallen, _ = record_lengths(free, 200, 0, Motion(amplitude=0.0, lift=0.0))
    held, _ = record_lengths(free, 200, 0, Motion(amplitude=0.0, lift=fall / 0.01))
    assert fallen[-1, 0] - fallen[0, 0] == pytest.approx(199 * fall, rel=1e-3)
    assert held[-1, 0] == pytest.approx(held[0, 0], abs=1e-4)


def test_what_diverges_goes_on_from_the_start(tmp_path: Path) -> None:
    lengths, divergences = record_lengths(Arm(tmp_path), 30, 0, Motion(amplitude=1e12))
    assert divergences > 0
    assert np.isfinite(lengths).all()


def test_models_without_muscles_are_refused(tmp_path: Path) -> None:
    torque = ARM.split("<tendon>")[0] + '<actuator><motor joint="upper"/></actuator></mujoco>'
    with pytest.raises(ValueError, match="1 actuators, and none of them is a muscle or pulls on a tendon"):
        synergies(Arm(tmp_path, torque), 1, steps=100, seed=0, motion=Motion())
    with pytest.raises(ValueError, match="has no MuJoCo model"):
        synergies(gym.make("PlanarChain-v0"), 1, steps=100, seed=0, motion=Motion())


def test_k_is_checked_before_anything_is_recorded(arm: Arm) -> None:
    with pytest.raises(ValueError, match="k=5: choose from 1 to 4 groups"):
        synergies(arm, 5, steps=10**12, seed=0, motion=Motion())


def test_the_hash_is_that_of_the_muscles() -> None:
    model = mujoco.MjModel.from_xml_string
    assert model_hash(model(ARM)) == model_hash(model(ARM.replace('timestep="0.002"', 'timestep="0.001"')))
    assert model_hash(model(ARM)) != model_hash(model(ARM.replace('name="u2" tendon', 'name="x" tendon')))
    moved = ARM.replace('"j1" pos="0.05', '"j1" pos="0.06')
    assert model_hash(model(ARM)) != model_hash(model(moved))


# --- The command ---


def test_the_command_writes_groups_that_the_wrapper_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gym.register("SynergyArm-v0", lambda: Arm(tmp_path))
    monkeypatch.chdir(tmp_path)
    try:
        assert command.main(["synergies", "SynergyArm-v0", "-k", "2", "--steps", "500", "--out", "g.json"]) == 0
    finally:
        gym.registry.pop("SynergyArm-v0")
    assert capsys.readouterr().out.splitlines()[-3:-1] == ["u1 u2", "l1 l2"]
    written = json.loads((tmp_path / "g.json").read_text())
    assert written["command"] == "sb3-qflex synergies SynergyArm-v0 -k 2 --steps 500 --out g.json"
    assert np.shape(written["similarity"]) == (4, 4)
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")
    assert load_groups("g.json", 4) == [[0, 2], [1, 3]]


@pytest.mark.parametrize("name", ["g.json", "g.png"])
def test_the_command_replaces_files_only_if_asked_to(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gym.register("SynergyArm-v0", lambda: Arm(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("mine")
    words = ["synergies", "SynergyArm-v0", "-k", "2", "--steps", "500", "--out", "g.json"]
    try:
        with pytest.raises(SystemExit, match=f"{name} would be replaced: choose another --out, or --overwrite"):
            command.main(words)
        assert (tmp_path / name).read_text() == "mine"
        assert command.main([*words, "--overwrite"]) == 0
    finally:
        gym.registry.pop("SynergyArm-v0")
    assert load_groups("g.json", 4) == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("PlanarChain-v0", "-k", "2"), "has no MuJoCo model"),
        (("PlanarChain-v0", "-k", "2", "--out", "g.txt"), r"--out g.txt has to end with \.json"),
        (("Nowhere-v0", "-k", "2"), "Nowhere"),
    ],
)
def test_what_the_command_refuses(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        command.main(["synergies", *words])


# --- Groups ---


def test_groups_are_lists_presets_or_files(tmp_path: Path) -> None:
    assert load_groups([(1, np.int64(0)), [2]], 3) == [[1, 0], [2]]
    assert load_groups(None, 2) == [[0], [1]]
    (tmp_path / "mine.json").write_text(json.dumps({"groups": [[0], [1]]}))
    assert load_groups(tmp_path / "mine.json", 2) == load_groups(str(tmp_path / "mine.json"), 2) == [[0], [1]]
    (tmp_path / "mine.json").write_text(json.dumps({"groups": [[1, 0]]}))
    assert load_groups(tmp_path / "mine.json", 2) == [[1, 0]]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[0, 2], [1, 2]], r"of the 4 actuators, 0 to 3, exactly once; more than once: 2, missing: 3\. Give lists"),
        ([[0, 1, 2, 3, 4, -1]], "out of range: -1, 4"),
        ([[0]], "missing: 1, 2, 3"),
        ([[0, 1, 2, 3], []], "a group without actuators"),
        ([0, 1, 2, 3], "must be lists of whole numbers"),
        ([[0, 1, 2, 3.5]], "must be lists of whole numbers"),
        ([[0, 1, 2, True]], "must be lists of whole numbers"),
        (7, "must be lists of whole numbers, not 7"),
        ("myolegs", r"groups='myolegs' is neither a file nor one of the presets\. Give lists such as"),
        ("nowhere.json", "neither a file"),
    ],
    ids=str,
)
def test_what_groups_cannot_be(groups, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_groups(groups, 4)
    with pytest.raises(ValueError, match=message):
        SynergyActions(gym.make("PlanarChain-v0", n_links=4), groups)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    for name, text in {"a.json": "{}", "b.json": "no", "c.json": "[]"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match="no file of `sb3-qflex synergies`"):
            load_groups(str(tmp_path / name), 4)


# --- The wrapper ---


class Recorder(gym.Env):
    """Remembers the last action."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)

    def __init__(self, low: list[float], high: list[float]) -> None:
        self.action_space = spaces.Box(np.array(low, np.float32), np.array(high, np.float32))

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.received = action
        return np.zeros(1, np.float32), 0.0, False, False, {}


def test_each_muscle_gets_the_action_of_its_group() -> None:
    env = SynergyActions(Recorder([0, -2, 0, -2], [1, 2, 1, 2]), [[2, 0], [1, 3]])
    np.testing.assert_array_equal(env.action_space.low, [0, -2])
    np.testing.assert_array_equal(env.action_space.high, [1, 2])
    env.step(np.array([0.25, -1.5], dtype=np.float32))
    np.testing.assert_array_equal(env.unwrapped.received, np.array([0.25, -1.5, 0.25, -1.5], np.float32))
    assert env.unwrapped.received.dtype == np.float32


def test_bounds_within_a_group_are_the_same() -> None:
    with pytest.raises(ValueError, match=r"actuators \[2\] differ.*RescaleAction\(env, -1, 1\)"):
        SynergyActions(Recorder([0, 0, 0], [1, 1, 2]), [[0, 2], [1]])
    with pytest.raises(ValueError, match="SynergyActions needs a one-dimensional Box"):
        SynergyActions(gym.make("CartPole-v1"), [[0]])


def test_a_wrapped_environment_is_rebuilt_from_its_spec() -> None:
    env = SynergyActions(gym.make("PlanarChain-v0", n_links=4), [[0, 1], [2, 3]])
    again = gym.make(pickle.loads(pickle.dumps(env.spec)))
    assert again.action_space.shape == (2,)


# --- What is shipped ---

SHIPPED = {
    "myoHand": ("MyoHandPenTwirl-v0", 25),
    "myoLeg": ("MyoLegWalk-v0", 40),
    "ostrich": ("OstrichRun-v0", 40),
    "MSHuman700": ("MSHuman700Walk-v0", 200),
}


def test_the_bodies_of_the_paper_have_presets() -> None:
    assert set(preset_names()) >= set(SHIPPED)
    sizes = {entry.id: entry.actions for entry in CATALOGUE}
    for name, (env_id, k) in SHIPPED.items():
        assert len(load_groups(name, sizes[env_id])) == k
    with pytest.raises(ValueError, match=r"groups='myoLeg' must hold each of the 39 actuators.*myoHand, myoLeg"):
        load_groups("myoLeg", 39)


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(env)) for name, (env, _) in SHIPPED.items()])
def test_presets_are_of_the_models_that_are_found_here(name: str) -> None:
    preset = json.loads((Path(sb3_qflex.envs.__file__).parent / "synergies/presets" / f"{name}.json").read_text())
    model = gym.make(SHIPPED[name][0]).unwrapped.model
    assert preset["actuators"] == [model.actuator(index).name for index in range(model.nu)]
    assert preset["command"].startswith(f"sb3-qflex synergies {SHIPPED[name][0]} -k {SHIPPED[name][1]} ")
    assert preset["groups"] == sorted(sorted(group) for group in preset["groups"])

"""The analyses on a small trained model in a run folder as RL Zoo leaves it."""

import json
import shutil
from collections import OrderedDict
from copy import deepcopy
from pathlib import Path

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
import torch as th
import yaml
from helpers.muscle_env import MuscleEnv
from helpers.small_models import assert_same, parameters, small_model
from rl_zoo3.utils import ALGOS
from sb3_contrib import RecurrentPPO
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import sb3_qflex.envs  # noqa: F401 registers the ids
from sb3_qflex import QFlex, QFlexPolicy
from sb3_qflex.analysis import acting
from sb3_qflex.analysis.correlation import correlations, noise_correlation
from sb3_qflex.analysis.energy import ActivationEnergy
from sb3_qflex.analysis.episodes import run_episodes
from sb3_qflex.analysis.lag import TARGETS, catch_up
from sb3_qflex.analysis.partway import q_along
from sb3_qflex.analysis.sensitivity import guidance_grid
from sb3_qflex.analysis.states import visited_states
from sb3_qflex.analysis.superiority import superiority
from sb3_qflex.analysis.trained import ModelError, algorithm_of, load, load_all, what_differs
from sb3_qflex.cli import main as command

ENV = "PlanarChain-v0"
ENV_KWARGS = {"n_links": 6}
NORMALIZE = {"norm_obs": True, "norm_reward": False}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """Two models: the last one and a checkpoint with other statistics."""
    folder = tmp_path_factory.mktemp("logs") / "qflex" / f"{ENV}_1"
    config = folder / ENV
    config.mkdir(parents=True)
    env = make_vec_env(ENV, 2, seed=0, env_kwargs=ENV_KWARGS, monitor_dir=str(folder))
    env = VecNormalize(env, **NORMALIZE)
    model = small_model(env, flow_steps=4, guidance_steps=4, guidance_step_size=0.1, batch_size=32)
    model.learn(100)
    model.save(folder / "rl_model_100_steps.zip")
    env.save(str(folder / "rl_model_vecnormalize_100_steps.pkl"))
    model.learn(500, reset_num_timesteps=False)
    model.save(folder / f"{ENV}.zip")
    env.save(str(config / "vecnormalize.pkl"))
    env.close()
    arguments = OrderedDict(algo="qflex", env=ENV, env_kwargs=ENV_KWARGS, gym_packages=[])
    (config / "args.yml").write_text(yaml.dump(arguments))
    (config / "config.yml").write_text(yaml.dump(OrderedDict(policy="MlpPolicy", normalize=repr(NORMALIZE))))
    return folder


@pytest.fixture(scope="module")
def trained(run_folder):
    return load(run_folder)


@pytest.fixture(scope="module")
def states(trained):
    env = trained.task.make(4)
    return visited_states(trained.policy, env, 64, seed=3)


def test_a_run_folder_gives_the_environment_of_the_run(trained):
    env = trained.task.make(2)
    assert isinstance(env, VecNormalize)
    assert (env.training, env.norm_reward) == (False, False)
    assert env.action_space.shape == (6,)
    assert env.obs_rms.count > 500
    assert trained.model.num_timesteps >= 600


def test_a_checkpoint_comes_with_its_own_statistics(run_folder, trained):
    checkpoint = load(run_folder / "rl_model_100_steps.zip")
    assert checkpoint.model.num_timesteps == 100
    assert checkpoint.task.make().obs_rms.count < trained.task.make().obs_rms.count


def test_a_zip_alone_needs_its_environment_and_tells_its_algorithm(tmp_path):
    path = tmp_path / "sac.zip"
    SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}).save(path)
    with pytest.raises(ModelError, match="--env"):
        load(path)
    alone = load(path, env_id="Pendulum-v1")
    assert isinstance(alone.model, SAC)
    with pytest.raises(ModelError, match="needs a QFlex model"):
        _ = alone.policy
    with pytest.raises(ModelError, match="no run folder"):
        load(tmp_path)


def test_an_environment_for_no_zip_file_is_refused(run_folder):
    with pytest.raises(ModelError, match=r"--env Pendulum-v1 is for zip files .*PlanarChain-v0"):
        load_all([run_folder], "Pendulum-v1")


class OwnPolicy(QFlexPolicy):
    """A user's."""


def test_a_policy_class_of_ones_own_belongs_to_the_algorithm_of_its_base(tmp_path):
    QFlex(OwnPolicy, "Pendulum-v1", policy_kwargs={"net_arch": [8]}, device="cpu").save(tmp_path / "model")
    assert algorithm_of(tmp_path / "model.zip") is QFlex


@pytest.mark.parametrize("algo", ["a2c", "ppo", "trpo", "qflex", "dep_qflex"])
def test_of_algorithms_with_one_policy_it_is_the_one_whose_arguments_the_file_has(algo, tmp_path):
    ALGOS[algo]("MlpPolicy", MuscleEnv(), device="cpu").save(tmp_path / "model")
    assert algorithm_of(tmp_path / "model.zip") is ALGOS[algo]


def test_models_of_one_name_are_told_apart_by_their_folders(run_folder, tmp_path):
    copies = [tmp_path / algorithm / "seed0" / run_folder.name for algorithm in ("qflex", "source_only")]
    for copy in copies:
        shutil.copytree(run_folder, copy)
    assert [one.label for one in load_all(copies)] == ["QFlex qflex", "QFlex source_only"]
    assert [one.label for one in load_all([run_folder, run_folder])] == ["QFlex (1)", "QFlex (2)"]
    assert load_all(copies[:1])[0].label == f"QFlex {run_folder.name}"


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["s/qflex/seed0/zoo", "s/qflex/seed1/zoo"], ["seed0", "seed1"]),
        (["s/qflex/seed0/zoo", "s/crossq/seed1/zoo"], ["qflex/seed0", "crossq/seed1"]),
        (["s/a", "s/a/a"], ["(1)", "(2)"]),
        (["s/a", "s/b", "s/a"], ["(1)", "(2)", "(3)"]),
    ],
)
def test_what_differs_between_paths(paths, names):
    assert what_differs([Path(path) for path in paths]) == names


def test_a_model_without_a_field_has_no_flow_to_look_at(tmp_path):
    path = tmp_path / "source.zip"
    small_model(exploration="source").save(path)
    with pytest.raises(ModelError, match="velocity"):
        _ = load(path, env_id="Pendulum-v1").flow_policy


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_flow_acts_as_predict_does(trained, deterministic):
    obs = trained.task.make(5).reset()
    policy = trained.flow_policy
    acts = (
        acting.predictor(trained.model, deterministic),
        acting.explorer(policy, acting.flow(policy, policy.flow_steps), deterministic),
    )
    actions = []
    for act in acts:
        th.manual_seed(0)
        actions.append(act(obs))
    np.testing.assert_allclose(*actions, atol=1e-6)


def test_episodes_depend_on_their_seed_alone(trained):
    act = acting.predictor(trained.model, deterministic=True)
    one, four = (run_episodes(act, trained.task.make(n), 5, seed=7) for n in (1, 4))
    assert four["seed"].tolist() == [7, 8, 9, 10, 11]
    assert (four["length"] == 50).all()
    np.testing.assert_allclose(one["return"], four["return"], rtol=1e-4)
    assert four["return"].nunique() == 5


def test_part_way_begins_at_the_source_and_ends_at_the_flow(trained, states):
    policy = trained.policy
    along = q_along(policy, states)
    assert along["case"].tolist() == ["t = 0", "t = 0.25", "t = 0.5", "t = 0.75", "t = 1"]
    assert along["gain of min Q"][0] == 0.0
    distance = along["mean distance from a(0)"]
    assert distance.is_monotonic_increasing
    with th.random.fork_rng(devices=[]):
        source = policy.source(states)
        end = policy.flow(states, source).clamp(-1, 1)
    assert distance.iloc[-1] == pytest.approx(float((end - source).norm(dim=1).mean()), rel=1e-4)


def test_guidance_climbs_and_leaves_the_model_as_it_was(trained, states):
    before = parameters(trained.model)
    grid = guidance_grid(trained.policy, states, [1, 4], [0.01, 0.05])
    assert (grid["gain of min Q"] > 0).all()
    by_steps = grid.pivot(index="N", columns="eta", values="guidance displacement")
    assert (by_steps.loc[4] > by_steps.loc[1]).all()
    assert (by_steps[0.05] > by_steps[0.01]).all()
    assert (trained.policy.guidance_steps, trained.policy.guidance_step_size) == (4, 0.1)
    assert_same(before, parameters(trained.model))


def test_a_field_without_a_direction_catches_up_with_resting_critics(run_folder, states):
    policy = load(run_folder).flow_policy
    with th.no_grad():
        for parameter in policy.field.net[-1].parameters():
            parameter.zero_()
    table = catch_up(policy, states, [0, 50, 400], batch_size=32).set_index("case")
    assert table.loc["0 updates", ["superiority", "gain of min Q", "mean distance from a(0)"]].tolist() == [0.0] * 3
    gains = table["gain of min Q"]
    assert 0.0 < gains["50 updates"] < gains["400 updates"] < gains[TARGETS]


def test_catching_up_leaves_the_model_as_it_was(run_folder, states):
    policy = load(run_folder).flow_policy
    before, optimizer = parameters(load(run_folder).model), deepcopy(policy.field.optimizer.state_dict())
    action = policy.flow(states, th.zeros(64, 6))
    random_state = th.get_rng_state()
    first, second = (catch_up(policy, states, [0, 3], batch_size=8) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert th.equal(random_state, th.get_rng_state())
    assert_same(before, dict(policy.state_dict()))
    assert th.equal(action, policy.flow(states, th.zeros(64, 6)))
    assert str(optimizer) == str(policy.field.optimizer.state_dict())


def test_noise_of_the_source_is_independent(trained, states):
    found = noise_correlation(trained.policy, states, 64)
    outside = ~np.eye(6, dtype=bool)
    # Standard error of a correlation without any: one over the root of the degrees of freedom.
    assert np.abs(found.source[outside]).max() < 5 / np.sqrt(64 * 63)
    np.testing.assert_allclose(np.diag(found.flow), 1.0)


def mixed(policy, obs, deterministic=False):
    """Actions of which the second is the first, and the third is drawn by itself."""
    first, third = np.random.default_rng(0).normal(size=(2, len(obs), 1))
    return np.concatenate([first, first, third], axis=1), None


def test_noise_of_any_algorithm_beside_the_sampling_error(monkeypatch):
    model = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, device="cpu")
    monkeypatch.setattr(type(model.policy), "predict", mixed)
    found = correlations(model, th.zeros(16, 3), 64, seed=0)
    assert list(found) == ["executed", "shuffled"]
    assert found["executed"][0, 1] == pytest.approx(1.0)
    for value in (found["executed"][0, 2], *found["shuffled"][~np.eye(3, dtype=bool)]):
        assert abs(value) < 5 / np.sqrt(16 * 63)


def test_recurrent_policies_are_refused():
    model = RecurrentPPO("MlpLstmPolicy", "Pendulum-v1", n_steps=8, batch_size=8, device="cpu")
    with pytest.raises(ModelError, match="RecurrentActorCriticPolicy is recurrent"):
        acting.predictor(model, deterministic=True)


@pytest.mark.parametrize("name", ["correlation", "energy"])
def test_seeds_count_as_one_case_where_asked(name, run_folder, tmp_path):
    for seed in (0, 1, 2):
        shutil.copytree(run_folder, tmp_path / "task" / f"seed{seed}" / "zoo" / f"{ENV}_1")
    # Not finished, so not looked at.
    for model in (tmp_path / "task" / "seed2").rglob("*.zip"):
        model.unlink()
    options = {"correlation": ["--states", "4", "--samples", "4"], "energy": ["--episodes", "2"]}[name]
    argv = ["analyse", name, str(tmp_path / "task"), "--n-envs", "2", "--out", str(tmp_path / "out"), *options]
    command.main(argv)
    alone = pd.read_csv(tmp_path / "out" / f"{name}.csv")
    assert list(dict.fromkeys(alone["model"])) == ["QFlex seed0", "QFlex seed1"] and set(alone["models"]) == {1}
    command.main([*argv, "--pool-seeds"])
    pooled = pd.read_csv(tmp_path / "out" / f"{name}.csv")
    assert set(pooled["model"]) == {"QFlex"} and set(pooled["models"]) == {2}
    assert len(pooled) == len(alone) / 2


def test_superiority_from_checkpoints(run_folder):
    table, source = superiority(run_folder, n_states=16, n_envs=2)
    assert source == "checkpoints"
    assert table["step"].tolist() == [100]
    assert 0.0 <= table["flow_superiority"][0] <= 1.0


@pytest.mark.parametrize(
    "name, options, columns",
    [
        ("superiority", ["--states", "16"], {"run", "points"}),
        ("lag", ["--states", "20", "--updates", "1", "2"], {"model", "case", "superiority"}),
        (
            "sensitivity",
            ["--episodes", "2", "--states", "8", "-K", "1", "-N", "1", "2", "--eta", "0.01"],
            {"case", "mean min Q"},
        ),
        ("exploration", ["--episodes", "2", "--states", "8"], {"case", "mean difference to flow"}),
        ("partway", ["--episodes", "2", "--states", "8"], {"case", "gain of min Q"}),
        ("correlation", ["--states", "8", "--samples", "8"], {"noise", "mean abs. correlation within"}),
        ("runtime", ["--seconds", "0.01"], {"model", "training [s]"}),
        ("energy", ["--episodes", "3", "--bins", "1"], {"model", "mean energy"}),
    ],
)
def test_every_command_writes_its_files(name, options, columns, run_folder, tmp_path, capsys):
    several = [str(run_folder / "rl_model_100_steps.zip")] if name in ("lag", "energy", "runtime") else []
    argv = [name, str(run_folder), *several, "--n-envs", "2", "--out", str(tmp_path), *options]
    command.main(["analyse", *argv])
    table = pd.read_csv(tmp_path / f"{name}.csv")
    assert columns <= set(table.columns)
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / f"{name}.md").read_text() in capsys.readouterr().out
    assert json.loads((tmp_path / f"{name}.json").read_text())["command"].endswith(" ".join(argv[-2:]))
    (tmp_path / f"{name}.csv").write_text("mine")
    with pytest.raises(SystemExit, match="did not write"):
        command.main(["analyse", *argv])
    assert (tmp_path / f"{name}.csv").read_text() == "mine"


def test_files_of_a_former_run_are_replaced(run_folder, tmp_path):
    for states in ("4", "8"):
        command.main(
            ["analyse", "superiority", str(run_folder), "--states", states, "--n-envs", "2", "--out", str(tmp_path)]
        )
    assert "--states 8" in (tmp_path / "superiority.md").read_text()


def test_training_time_comes_from_the_monitor_files(run_folder, tmp_path):
    command.main(["analyse", "runtime", str(run_folder), "--seconds", "0.01", "--out", str(tmp_path)])
    row = pd.read_csv(tmp_path / "runtime.csv").iloc[0]
    assert row["training steps"] == 600
    assert row["training steps / s"] == pytest.approx(600 / row["training [s]"])


def test_models_of_two_tasks_have_no_common_energy(run_folder, tmp_path):
    path = tmp_path / "pendulum.zip"
    small_model().save(path)
    with pytest.raises(SystemExit, match="one task"):
        command.main(
            ["analyse", "energy", str(run_folder), str(path), "--env", "Pendulum-v1", "--out", str(tmp_path / "out")]
        )


class Muscles(gym.Env):
    """Activations follow the actions; or there are none."""

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Box(-1, 1, (2,))

    def __init__(self, activated: bool):
        self.data = self
        self.act = np.zeros(2) if activated else np.zeros(0)

    def step(self, action):
        if len(self.act):
            self.act = np.abs(np.asarray(action))
        return np.zeros(1), 0.0, False, False, {}


def test_energy_is_activation_or_squared_actions():
    action = np.array([0.5, -0.25])
    summed = ActivationEnergy(Muscles(True))
    assert summed.step(action)[4]["energy"] == pytest.approx(0.75)
    assert summed.step(action)[4]["energy"] == pytest.approx(1.5)
    assert ActivationEnergy(Muscles(False)).step(action)[4]["energy"] == pytest.approx(0.3125)

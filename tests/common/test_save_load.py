"""Models, policies and parameters survive a file, and the file survives a crash."""

import io

import numpy as np
import pytest
import torch as th
from helpers.small_models import SMALL, BoxEnv, assert_same, bit_flipping, observations, parameters, small_model
from stable_baselines3.common import save_util
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import QFlex, QFlexPolicy

OPTIONS = {
    "flow_steps": 3,
    "guidance_steps": 4,
    "guidance_step_size": 0.05,
    "guidance_dtype": "bfloat16",
    "bootstrap": "flow",
    "preconditioner": "rms",
    "exploration": "ascent",
    "ent_coef": "auto_0.3",
    "policy_delay": 2,
    "gamma": 0.9,
    "n_steps": 3,
}


@pytest.mark.parametrize("policy", ["MlpPolicy", "MultiInputPolicy"])
@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["defaults", "options"])
def test_actions_and_state_are_bit_equal(policy, options, tmp_path):
    if policy == "MultiInputPolicy":
        options = {name: value for name, value in options.items() if name != "n_steps"}
    env = bit_flipping() if policy == "MultiInputPolicy" else BoxEnv()
    model = small_model(env, policy, **options).learn(30)
    model.save(tmp_path / "model.zip")
    loaded = QFlex.load(tmp_path / "model.zip", device="cpu")
    for name, value in {**SMALL, **options, "device": th.device("cpu")}.items():
        assert getattr(loaded, name) == value, name
    assert (loaded.num_timesteps, loaded._n_updates) == (30, model._n_updates)
    assert_same(parameters(model), parameters(loaded))
    for mine, theirs in zip(model._optimizers(), loaded._optimizers(), strict=True):
        assert mine.state_dict()["state"].keys() == theirs.state_dict()["state"].keys()
        for key, state in mine.state_dict()["state"].items():
            assert_same(state, theirs.state_dict()["state"][key])
    if model.log_ent_coef is not None:
        assert th.equal(model.log_ent_coef, loaded.log_ent_coef)
        assert loaded.ent_coef_optimizer.param_groups[0]["params"][0] is loaded.log_ent_coef
    obs = observations(model)
    for deterministic in (True, False):
        actions = []
        for each in (model, loaded):
            th.manual_seed(5)
            actions.append(each.predict(obs, deterministic=deterministic)[0])
        np.testing.assert_array_equal(*actions)


def test_policy_alone(tmp_path):
    model = small_model(BoxEnv(), preconditioner=[1.0, 2.0], exploration="ascent").learn(30)
    model.policy.save(tmp_path / "policy")
    loaded = QFlexPolicy.load(tmp_path / "policy", device="cpu")
    obs = observations(model)
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    assert loaded.exploration == "ascent"


def test_open_files_and_paths_without_suffix(tmp_path):
    model = small_model(BoxEnv()).learn(25)
    stream = io.BytesIO()
    model.save(stream)
    stream.seek(0)
    assert_same(parameters(model), parameters(QFlex.load(stream, device="cpu")))
    with pytest.warns(UserWarning, match="does not exist"):
        model.save(str(tmp_path / "new" / "model"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.zip"]
    assert_same(parameters(model), parameters(QFlex.load(tmp_path / "new" / "model", device="cpu")))


@pytest.mark.parametrize("where", ["state_dict", "os.fsync"])
def test_a_crash_leaves_the_previous_file(where, tmp_path, monkeypatch):
    model = small_model(BoxEnv()).learn(25)
    model.save(tmp_path / "model")
    previous = (tmp_path / "model.zip").read_bytes()
    model.learn(5, reset_num_timesteps=False)

    def crash(*_args, **_kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(*((save_util.th, "save", crash) if where == "state_dict" else ("os.fsync", crash)))
    with pytest.raises(OSError, match="no space left"):
        model.save(tmp_path / "model")
    assert (tmp_path / "model.zip").read_bytes() == previous
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]


def test_inference_needs_neither_buffer_nor_environment(tmp_path):
    model = small_model(buffer_size=10**12)  # no machine has so much
    model.save(tmp_path / "model")
    # Arguments of RL Zoo's enjoy.
    loaded = QFlex.load(
        tmp_path / "model",
        custom_objects={"learning_rate": 0.0, "lr_schedule": lambda _: 0.0, "clip_range": lambda _: 0.0},
        device="cpu",
        seed=0,
        buffer_size=1,
        optimize_memory_usage=False,
    )
    assert loaded.predict(np.zeros(3, dtype=np.float32), deterministic=True)[0].shape == (1,)
    assert loaded.env is None and loaded._replay_buffer is None
    with pytest.raises(ValueError, match="needs an environment"):
        loaded.learn(10)
    loaded.set_env(make_vec_env("Pendulum-v1", 1))
    loaded.learn(25)


def test_load_changes_options(tmp_path):
    model = small_model(BoxEnv(), ent_coef=0.1, preconditioner=[1.0, 2.0]).learn(30)
    model.save(tmp_path / "model")
    changed = {
        "ent_coef": 0.5,
        "preconditioner": [3.0, 1.0],
        "flow_steps": 7,
        "exploration": "source",
        "learning_rate": 1e-4,
        "gamma": 0.5,
    }
    loaded = QFlex.load(tmp_path / "model", env=BoxEnv(), device="cpu", **changed)
    assert float(loaded.ent_coef_tensor) == 0.5
    assert loaded.policy.metric.tolist() == [3.0, 1.0]
    assert (loaded.policy.flow_steps, loaded.policy.exploration) == (7, "source")
    with pytest.warns(UserWarning, match="without its replay buffer"):
        loaded.learn(30)
    assert loaded.critic.optimizer.param_groups[0]["lr"] == 1e-4


@pytest.mark.parametrize("before, after", [("rms", None), (None, "rms"), ([1.0, 2.0], "rms"), ([1.0, 2.0], None)])
def test_load_changes_the_kind_of_preconditioner(before, after, tmp_path):
    small_model(BoxEnv(), preconditioner=before).learn(30).save(tmp_path / "model")
    loaded = QFlex.load(tmp_path / "model", preconditioner=after, device="cpu")
    assert loaded.policy.metric is None
    assert loaded.policy.uses_rms == (after == "rms")


@pytest.mark.parametrize("before, after", [("auto", 0.1), (0.1, "auto")])
def test_load_cannot_change_between_fixed_and_learned_ent_coef(before, after, tmp_path):
    small_model(BoxEnv(), ent_coef=before).save(tmp_path / "model")
    with pytest.raises(RuntimeError, match=r"ent_coef=.* does not fit the saved model"):
        QFlex.load(tmp_path / "model", ent_coef=after, device="cpu")


def test_load_with_another_number_of_environments(tmp_path):
    small_model(make_vec_env(BoxEnv, 1)).learn(30).save(tmp_path / "model")
    loaded = QFlex.load(tmp_path / "model", env=make_vec_env(BoxEnv, 3), device="cpu", learning_starts=0)
    loaded.learn(9)
    assert loaded.replay_buffer.n_envs == 3


def test_load_refuses_another_task(tmp_path):
    small_model(BoxEnv()).save(tmp_path / "model")
    with pytest.raises(ValueError, match="spaces do not match"):
        QFlex.load(tmp_path / "model", env=make_vec_env("Pendulum-v1"), device="cpu")

"""``sb3-qflex export``, the folder for MyoChallenge, and MyoSuite's own check of the ONNX file."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch as th
from helpers.small_models import BoxEnv, ReachEnv, observations, small_model
from helpers.small_td3 import SmallTD3
from rl_zoo3.utils import ALGOS
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex import QFlexPolicy
from sb3_qflex.cli import main as command
from sb3_qflex.export import export_myochallenge
from sb3_qflex.export.torchscript import METADATA


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model in a folder such as RL Zoo leaves, and its statistics."""
    folder = tmp_path_factory.mktemp("logs")
    env = VecNormalize(make_vec_env(BoxEnv, 1))
    model = small_model(env).learn(30)
    model.save(folder / "best_model")
    (folder / "Task-v0").mkdir()
    (folder / "Task-v0" / "config.yml").write_text("")
    env.save(str(folder / "Task-v0" / "vecnormalize.pkl"))
    raw = observations(model)
    return folder / "best_model.zip", raw, model.predict(env.normalize_obs(raw), deterministic=True)[0]


def run(*words):
    command.main(["export", *map(str, words)])


def test_onnx(trained, tmp_path, capsys):
    pytest.importorskip("onnx", reason="onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model, raw, expected = trained
    run(model, "--format", "onnx", "--out", tmp_path / "policy.onnx")
    printed = capsys.readouterr().out
    assert "Task-v0/vecnormalize.pkl" in printed and str(tmp_path / "policy.onnx") in printed
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    np.testing.assert_allclose(session.run(None, {"obs": raw})[0], expected, rtol=0, atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map["task"] == "Task-v0"


def test_a_run_folder_stands_for_its_last_model(trained, tmp_path):
    model, raw, expected = trained
    shutil.copy(model, model.with_name("Task-v0.zip"))
    run(model.parent, "--format", "torchscript", "--out", tmp_path / "policy.pt")
    actions = th.jit.load(tmp_path / "policy.pt")(th.as_tensor(raw, dtype=th.float32))
    np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)
    with pytest.raises(SystemExit, match="is no run folder of RL Zoo"):
        run(tmp_path, "--format", "torchscript", "--out", tmp_path / "other.pt")


def test_torchscript_with_options(trained, tmp_path, capsys):
    model, raw, expected = trained
    options = ("--flow-steps", 5, "--noise", "--task", "mine", "--no-vec-normalize")
    run(model, "--format", "torchscript", "--out", tmp_path / "policy", *options)
    assert "Observations are taken as they are" in capsys.readouterr().out
    extra = {METADATA: ""}
    script = th.jit.load(tmp_path / "policy.pt", _extra_files=extra)
    metadata = json.loads(extra[METADATA])
    assert (metadata["flow_steps"], metadata["task"]) == ("5", "mine")
    assert metadata["observations_normalised"] == "false"
    actions = script(th.as_tensor(raw), th.zeros(len(raw), 2)).numpy()
    assert np.abs(actions - expected).max() > 1e-3


def test_policy(trained, tmp_path):
    model, _, _ = trained
    run(model, "--format", "policy", "--out", tmp_path / "policy", "--flow-steps", 7)
    assert QFlexPolicy.load(tmp_path / "policy.safetensors", device="cpu").flow_steps == 7


@pytest.mark.parametrize(
    "words, message",
    [
        (("--format", "policy", "--noise"), "A policy file has no --noise"),
        (("--format", "torchscript", "--flow-steps", 0), "flow_steps must be an integer of at least 1"),
        (("--format", "torchscript", "--vec-normalize", "absent.pkl"), r"absent\.pkl"),
    ],
)
def test_errors_are_messages(trained, tmp_path, words, message):
    with pytest.raises(SystemExit, match=message):
        run(trained[0], "--out", tmp_path / "policy", *words)
    assert list(tmp_path.iterdir()) == []


def test_models_of_all_algorithms_of_this_package_are_exported(tmp_path, monkeypatch):
    monkeypatch.setitem(ALGOS, "small_td3", SmallTD3)
    model = SmallTD3("MlpPolicy", BoxEnv(), device="cpu")
    model.save(tmp_path / "model")
    run(tmp_path / "model.zip", "--format", "torchscript", "--out", tmp_path / "policy")
    raw = observations(model)
    actions = th.jit.load(tmp_path / "policy.pt")(th.as_tensor(raw, dtype=th.float32))
    np.testing.assert_allclose(actions, model.predict(raw, deterministic=True)[0], rtol=0, atol=1e-5)
    with pytest.raises(SystemExit, match="is a SmallTD3 model, which has no flow: leave out --flow-steps"):
        run(tmp_path / "model.zip", "--format", "torchscript", "--out", tmp_path / "other", "--flow-steps", 3)


def test_only_models_of_this_package_are_exported(tmp_path):
    SAC("MlpPolicy", BoxEnv(), policy_kwargs={"net_arch": [8]}, buffer_size=10).save(tmp_path / "sac")
    with pytest.raises(SystemExit, match="is a SAC model: only algorithms of this package"):
        run(tmp_path / "sac.zip", "--format", "torchscript", "--out", tmp_path / "policy")
    assert [path.name for path in tmp_path.iterdir()] == ["sac.zip"]


def test_statistics_that_could_be_either_are_not_guessed(tmp_path):
    small_model(BoxEnv()).save(tmp_path / "model")
    for name in ("A-v0", "B-v0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vecnormalize.pkl").write_bytes(b"")
        (tmp_path / name / "config.yml").touch()
    with pytest.raises(SystemExit, match="choose one with --vec-normalize"):
        run(tmp_path / "model.zip", "--format", "torchscript", "--out", tmp_path / "policy")


def test_statistics_of_a_folder_that_is_no_run_are_not_taken(tmp_path, capsys):
    small_model(BoxEnv()).save(tmp_path / "model")
    (tmp_path / "another").mkdir()
    (tmp_path / "another" / "vecnormalize.pkl").write_bytes(b"")
    run(tmp_path / "model.zip", "--format", "torchscript", "--out", tmp_path / "policy")
    assert "Observations are taken as they are." in capsys.readouterr().out


def test_neither_the_model_nor_files_of_others_are_replaced(trained, tmp_path):
    small_model(BoxEnv()).save(tmp_path / "model")
    before = (tmp_path / "model.zip").read_bytes()
    with pytest.raises(SystemExit, match="is the model itself"):
        run(tmp_path / "model.zip", "--format", "torchscript", "--out", tmp_path / "model.zip")
    assert (tmp_path / "model.zip").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metadata.json").write_text('{"mine": 1}')
    with pytest.raises(SystemExit, match="was not written by this function"):
        run(trained[0], "--format", "myochallenge", "--out", tmp_path / "mine")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["metadata.json"]


def test_myochallenge_folder(trained, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    run(trained[0], "--format", "myochallenge", "--out", tmp_path / "submission")
    assert {path.name for path in (tmp_path / "submission").iterdir()} == {"policy.onnx", "metadata.json"}
    assert json.loads((tmp_path / "submission" / "metadata.json").read_text())["task"] == "Task-v0"


def test_myochallenge_plays_one_vector_without_noise(tmp_path):
    with pytest.raises(ValueError, match="one observation vector"):
        export_myochallenge(small_model(ReachEnv(), "MultiInputPolicy"), tmp_path / "folder")
    with pytest.raises(ValueError, match="leave out noise"):
        export_myochallenge(small_model(BoxEnv()), tmp_path / "folder", noise=True)
    assert not (tmp_path / "folder").exists()


@pytest.mark.filterwarnings("ignore")
def test_myosuite_accepts_the_file(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx", reason="onnx is not installed")
    myosuite = pytest.importorskip("myosuite", reason="MyoSuite is not installed")
    export_onnx = pytest.importorskip("myosuite.utils.export_onnx", reason="this MyoSuite has no export_onnx")
    task = "myoHandPenTwirlRandom-v0"
    env = VecNormalize(make_vec_env(task, 1, seed=0))
    model = small_model(env).learn(40)
    file = model.export_onnx(tmp_path / "policy")
    # What the command myosuite-export-onnx runs.
    words = ["myosuite-export-onnx", "verify", "--onnx", str(file), "--env", task, "--steps", "20"]
    monkeypatch.setattr(sys, "argv", words)
    export_onnx.main()
    total, steps = re.search(r"total_reward=(\S+) .* steps=(\d+)", capsys.readouterr().out).groups()
    played = myosuite.make_env(task)
    obs, _ = played.reset(seed=0)
    rewards, ended = [], False
    # Whether the pen drops before depends on MuJoCo's version.
    while len(rewards) < 20 and not ended:
        action, _ = model.predict(env.normalize_obs(obs.astype(np.float32)), deterministic=True)
        obs, reward, terminated, truncated, _ = played.step(action)
        ended = terminated or truncated
        rewards.append(reward)
    assert len(rewards) == int(steps)
    assert float(total) == pytest.approx(float(np.sum(rewards)), rel=1e-3)

"""Exports know the interface of policies, not QFlex: a policy class of another algorithm has them too."""

import json

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers.small_models import BoxEnv, ReachEnv, assert_same, observations, small_model
from helpers.tanh_policy import TanhModel, TanhPolicy
from stable_baselines3 import TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from sb3_qflex import QFlexPolicy
from sb3_qflex.common.policies import Policy
from sb3_qflex.export import export_myochallenge, export_onnx, export_torchscript, load_vec_normalize, onnx_session
from sb3_qflex.export.torchscript import METADATA


class Learned(BaseFeaturesExtractor):
    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space, features_dim=4)
        self.net = nn.Linear(3, 4)

    def forward(self, obs: th.Tensor) -> th.Tensor:
        return self.net(obs).tanh()


CASES = {
    "box": lambda: TanhModel(BoxEnv()),
    "asymmetric box": lambda: TanhModel(BoxEnv(action_space=spaces.Box(-0.1, 0.7, (2, 2), np.float64))),
    "dict": lambda: TanhModel(ReachEnv()),
    "another activation": lambda: TanhModel(BoxEnv(), activation_fn=nn.ELU),
    "no hidden layer": lambda: TanhModel(BoxEnv(), net_arch=[]),
    "extractor": lambda: TanhModel(BoxEnv(), features_extractor_class=Learned),
}


def inputs_of(obs):
    """Float32 and flat, by name."""
    return {
        name: np.asarray(x, np.float32).reshape(len(x), -1)
        for name, x in (obs.items() if isinstance(obs, dict) else [("obs", obs)])
    }


@pytest.mark.parametrize("case", CASES)
def test_onnx_and_torchscript_equal_predict(case, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = CASES[case]()
    obs = observations(model, 100)
    expected = model.predict(obs, deterministic=True)[0].reshape(100, -1)
    assert np.ptp(expected, axis=0).min() > 1e-3
    inputs = inputs_of(obs)
    file = export_onnx(model, tmp_path / "policy")
    np.testing.assert_allclose(onnx_session(file).run(None, inputs)[0], expected, rtol=0, atol=1e-5)
    script = th.jit.load(export_torchscript(model, tmp_path / "policy"))
    np.testing.assert_allclose(script(*map(th.as_tensor, inputs.values())), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["asymmetric box", "dict", "another activation", "no hidden layer"])
def test_its_policy_file_comes_back(case, tmp_path):
    policy = CASES[case]().policy
    file = policy.export_policy(tmp_path / "policy")
    loaded = TanhPolicy.load(file, device="cpu")
    assert_same(dict(policy.state_dict()), dict(loaded.state_dict()))
    obs = observations(policy)
    np.testing.assert_array_equal(loaded.predict(obs)[0], policy.predict(obs)[0])
    with pytest.raises(ValueError, match="are missing or unknown"):
        QFlexPolicy.load(file, device="cpu")


def test_a_file_of_another_class_is_refused(tmp_path):
    file = small_model(BoxEnv()).policy.export_policy(tmp_path / "policy")
    with pytest.raises(ValueError, match="are missing or unknown"):
        TanhPolicy.load(file, device="cpu")


def test_metadata_statistics_and_the_folder_for_myochallenge(tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    env = VecNormalize(make_vec_env(BoxEnv, 1), clip_obs=0.7)
    env.reset()
    env.step(np.zeros((1, 2), np.float32))
    model = TanhModel(env)
    raw = observations(model)
    export_myochallenge(model, tmp_path / "folder", task="mine")
    metadata = json.loads((tmp_path / "folder" / "metadata.json").read_text())
    assert (metadata["algorithm"], metadata["task"], metadata["inputs"]) == ("TanhModel", "mine", '{"obs": 3}')
    assert not {"exploration", "flow_steps"} & metadata.keys()
    extra = {METADATA: ""}
    script = th.jit.load(export_torchscript(model, tmp_path / "policy"), _extra_files=extra)
    assert json.loads(extra[METADATA])["observations_normalised"] == "true"
    expected = model.predict(env.normalize_obs(raw), deterministic=True)[0]
    np.testing.assert_allclose(script(th.as_tensor(raw)), expected, rtol=0, atol=1e-5)
    file = model.policy.export_policy(tmp_path / "policy", env)
    wrapped = load_vec_normalize(file, make_vec_env(BoxEnv, 1))
    np.testing.assert_array_equal(wrapped.normalize_obs(raw), env.normalize_obs(raw))


def test_options_and_noise_that_it_does_not_know_are_refused(tmp_path):
    model = TanhModel(BoxEnv())
    with pytest.raises(ValueError, match="TanhPolicy has no option flow_steps; its own options: none"):
        export_torchscript(model, tmp_path / "policy", flow_steps=3)
    with pytest.raises(ValueError, match="leave out noise"):
        export_torchscript(model, tmp_path / "policy", noise=True)
    with pytest.raises(ValueError, match="QFlexPolicy has no option steps; its own options: flow_steps"):
        small_model(BoxEnv()).export_torchscript(tmp_path / "policy", steps=3)
    assert list(tmp_path.iterdir()) == []


class Heedless(TanhPolicy):
    """Says nothing of files or exports."""

    exported_head = Policy.exported_head


def test_a_policy_that_says_nothing_of_it_has_neither_export_nor_file(tmp_path):
    model = TanhModel(BoxEnv(), Heedless)
    with pytest.raises(ValueError, match="its method exported_head"):
        export_torchscript(model, tmp_path / "policy")
    with pytest.raises(ValueError, match="cannot carry the code of Heedless"):
        model.policy.export_policy(tmp_path / "policy")
    with pytest.raises(ValueError, match="TD3Policy has no exported form"):
        export_torchscript(TD3("MlpPolicy", BoxEnv(), buffer_size=10, device="cpu"), tmp_path / "policy")
    assert list(tmp_path.iterdir()) == []

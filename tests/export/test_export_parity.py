"""What is exported acts as ``predict`` does: as a module, as TorchScript, and in onnxruntime."""

import json
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers.exported import inputs_of, run_onnx
from helpers.small_models import BoxEnv, ReachEnv, observations, small_model
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from sb3_qflex import QFlex
from sb3_qflex.export.policy_module import ExportedPolicy
from sb3_qflex.export.torchscript import METADATA, trace
from sb3_qflex.qflex.flow import integrate

MIXED = spaces.Dict(
    {
        "position": spaces.Box(-1.0, 1.0, (3,), np.float32),
        "velocity": spaces.Box(-np.inf, np.inf, (2, 2), np.float32),
        "phase": spaces.Discrete(3),
        "contacts": spaces.MultiBinary(2),
    }
)


class Halves(BaseFeaturesExtractor):
    """A small network on a matrix of observations."""

    def __init__(self, observation_space: spaces.Space):
        super().__init__(observation_space, features_dim=4)
        self.net = nn.Sequential(nn.Linear(3, 2), nn.ELU(), nn.Flatten())

    def forward(self, obs: th.Tensor) -> th.Tensor:
        return self.net(obs)


class Pair(BaseFeaturesExtractor):
    """Of a dict of observations."""

    def __init__(self, observation_space: spaces.Dict):
        super().__init__(observation_space, features_dim=5)
        self.net = nn.Linear(6, 5)

    def forward(self, obs: dict[str, th.Tensor]) -> th.Tensor:
        return self.net(th.cat([obs["desired_goal"], obs["achieved_goal"], obs["observation"]], dim=1)).tanh()


class Branching(FlattenExtractor):
    """Does something else if the numbers are large."""

    def forward(self, obs: th.Tensor) -> th.Tensor:
        return super().forward(obs) if obs.sum() < 10.0 else -super().forward(obs)


MATRIX = spaces.Box(-1.0, 1.0, (2, 3), np.float32)
CASES = {
    "flow": {},
    "source": {"exploration": "source"},
    "one step": {"flow_steps": 1},
    "asymmetric float64 box": {
        "action_space": spaces.Box(np.array([-0.1, 2.0]), np.array([0.7, 2.3]), dtype=np.float64)
    },
    "matrices": {"space": MATRIX, "action_space": spaces.Box(-2.0, 2.0, (2, 2), np.float32)},
    "discrete": {"space": spaces.Discrete(4)},
    "multi-discrete": {"space": spaces.MultiDiscrete([4, 3])},
    "dict": {"space": MIXED},
    "no batch norm": {"policy_kwargs": {"batch_norm": False}},
    "no hidden layer": {"policy_kwargs": {"net_arch": {"pi": [], "field": [], "qf": [8]}}},
    "unequal networks": {"policy_kwargs": {"net_arch": {"pi": [8, 8], "field": [16], "qf": [8]}}},
    **{
        cls.__name__: {"policy_kwargs": {"activation_fn": cls}}
        for cls in (nn.Tanh, nn.ELU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.SELU, nn.Sigmoid)
    },
    "extractor": {"space": MATRIX, "policy_kwargs": {"features_extractor_class": Halves}},
    "shared extractor": {
        "space": MATRIX,
        "policy_kwargs": {"features_extractor_class": Halves, "share_features_extractor": True},
    },
    "dict extractor": {"space": ReachEnv().observation_space, "policy_kwargs": {"features_extractor_class": Pair}},
}


@cache
def model_of(case: str) -> QFlex:
    """One model for each case, after some updates."""
    options = dict(CASES[case])
    space = options.pop("space", None)
    env = BoxEnv(space, options.pop("action_space", None))
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    return small_model(env, policy, **{"flow_steps": 3, **options}).learn(30)


@pytest.mark.parametrize("case", CASES)
def test_module_and_torchscript_equal_predict(case):
    model = model_of(case)
    exported = ExportedPolicy(model.policy)
    obs = observations(model, 100)
    expected = model.predict(obs, deterministic=True)[0].reshape(100, -1)
    inputs = [th.as_tensor(x) for x in inputs_of(exported, obs).values()]
    for policy in (exported, trace(exported)):
        actions = policy(*inputs)
        assert actions.dtype == th.float32
        np.testing.assert_allclose(actions.numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_onnx_equals_predict_in_the_box(case, tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    model = model_of(case)
    file = model.export_onnx(tmp_path / "policy")
    assert file == tmp_path / "policy.onnx"
    assert [path.name for path in tmp_path.iterdir()] == ["policy.onnx"]
    proto = onnx.load(file)
    assert [(one.domain, one.version) for one in proto.opset_import] == [("", 17)]
    assert not {node.op_type for node in proto.graph.node if "Random" in node.op_type or node.op_type == "Bernoulli"}
    obs = observations(model, 50)
    inputs = inputs_of(ExportedPolicy(model.policy), obs)
    actions = run_onnx(file, inputs)
    np.testing.assert_allclose(actions, model.predict(obs, deterministic=True)[0].reshape(50, -1), rtol=0, atol=1e-5)
    box = model.action_space
    assert (actions >= box.low.ravel()).all() and (actions <= box.high.ravel()).all()
    one = run_onnx(file, {name: x[:1] for name, x in inputs.items()})
    np.testing.assert_allclose(one, actions[:1], rtol=0, atol=1e-5)


def test_ten_thousand_observations_behind_vec_normalize(tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    space = spaces.Box(-100.0, 300.0, (6,), np.float32)
    action_space = spaces.Box(-1.0, 3.0, (4,), np.float32)
    # A narrow clip, so that it matters.
    env = VecNormalize(make_vec_env(lambda: BoxEnv(space, action_space), 2), clip_obs=1.2)
    model = small_model(env, flow_steps=20, policy_kwargs={"net_arch": [32, 32]}).learn(120)
    raw = observations(model, 10_000)
    normalised = env.normalize_obs(raw)
    assert 0.05 < (np.abs(normalised) == np.float32(1.2)).mean() < 0.95
    expected = model.predict(normalised, deterministic=True)[0]
    assert np.ptp(expected, axis=0).min() > 0.1
    file = model.export_onnx(tmp_path / "policy.onnx")
    np.testing.assert_allclose(run_onnx(file, {"obs": raw}), expected, rtol=0, atol=1e-5)
    script = th.jit.load(model.export_torchscript(tmp_path / "policy.pt"))
    np.testing.assert_allclose(script(th.as_tensor(raw)).numpy(), expected, rtol=0, atol=1e-5)
    # The statistics in a file do the same for a model without environment.
    env.save(str(tmp_path / "vecnormalize.pkl"))
    model.save(tmp_path / "model")
    loaded = QFlex.load(tmp_path / "model", device="cpu")
    again = loaded.export_onnx(tmp_path / "again", vec_normalize=tmp_path / "vecnormalize.pkl")
    np.testing.assert_array_equal(run_onnx(again, {"obs": raw}), run_onnx(file, {"obs": raw}))
    without = loaded.export_onnx(tmp_path / "without")
    np.testing.assert_allclose(run_onnx(without, {"obs": normalised}), expected, rtol=0, atol=1e-5)


def test_some_keys_of_a_dict_are_normalised(tmp_path):
    env = VecNormalize(make_vec_env(ReachEnv, 2), norm_obs_keys=["observation", "desired_goal"])
    model = small_model(env, "MultiInputPolicy").learn(60)
    exported = ExportedPolicy(model.policy, env)
    raw = observations(model, 100)
    expected = model.predict(env.normalize_obs(raw), deterministic=True)[0]
    actions = exported(*(th.as_tensor(x) for x in inputs_of(exported, raw).values()))
    np.testing.assert_allclose(actions.numpy(), expected, rtol=0, atol=1e-5)


def test_a_feature_far_from_zero_keeps_its_digits():
    space = spaces.Box(np.array([999.0, -1.0], np.float32), np.array([1001.0, 1.0], np.float32))
    model = small_model(BoxEnv(space), flow_steps=3).learn(60)
    obs = th.as_tensor(observations(model, 200))
    actions = ExportedPolicy(model.policy)(obs)
    # The plain definition in float64.
    actor, field, features = model.actor.double(), model.field.double(), obs.double()
    with th.no_grad():
        source_actions = actor.split_heads(actor.net(features))[0].tanh()
        precise = integrate(
            lambda t, a: field.velocity(features, a, a.new_full((len(a), 1), t)), source_actions, model.flow_steps
        )
    np.testing.assert_allclose(actions.numpy(), precise.clamp(-1.0, 1.0).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["flow", "asymmetric float64 box", "source"])
def test_the_noise_samples_as_the_stochastic_policy_does(case, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    model = model_of(case)
    obs = observations(model, 64)
    noise = np.random.default_rng(0).standard_normal((64, 2)).astype(np.float32)
    with th.no_grad():
        mean, log_std, _ = model.actor.get_action_dist_params(th.as_tensor(obs))
        source_actions = (mean + log_std.exp() * th.as_tensor(noise)).tanh()
        actions = model.policy.explore(th.as_tensor(obs), source_actions).clamp(-1.0, 1.0)
    expected = model.policy.unscale_action(actions.numpy())
    actions = run_onnx(model.export_onnx(tmp_path / "policy", noise=True), {"obs": obs, "noise": noise})
    np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)
    script = th.jit.load(model.export_torchscript(tmp_path / "policy", noise=True))
    np.testing.assert_allclose(script(th.as_tensor(obs), th.as_tensor(noise)).numpy(), expected, rtol=0, atol=1e-5)
    zero = np.zeros_like(noise)
    np.testing.assert_allclose(
        script(th.as_tensor(obs), th.as_tensor(zero)).numpy(), model.predict(obs, deterministic=True)[0], atol=1e-5
    )


@pytest.mark.parametrize("steps", [1, 7])
def test_another_number_of_flow_steps(steps):
    model = model_of("flow")
    obs = observations(model, 50)
    actions = ExportedPolicy(model.policy, flow_steps=steps)(th.as_tensor(obs)).numpy()
    before, model.policy.flow_steps = model.policy.flow_steps, steps
    try:
        np.testing.assert_allclose(actions, model.predict(obs, deterministic=True)[0], rtol=0, atol=1e-5)
    finally:
        model.policy.flow_steps = before


def test_weights_are_stored_once_for_all_steps(tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    sizes = [model_of("flow").export_onnx(tmp_path / "policy", flow_steps=k).stat().st_size for k in (1, 11)]
    field = sum(p.numel() for p in model_of("flow").field.net.parameters()) * 4
    # Ten more steps: their nodes and time biases, but not ten more networks.
    nodes = 10 * 800
    assert sizes[1] - sizes[0] < nodes + 10 * 16 * 4 < nodes + 10 * field


def test_metadata(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    model = small_model("Pendulum-v1")
    metadata = {one.key: one.value for one in onnx.load(model.export_onnx(tmp_path / "policy")).metadata_props}
    assert metadata["task"] == "Pendulum-v1"
    expected = {
        "inputs": {"obs": 3}, "obs_dim": 3, "act_dim": 1, "action_low": [-2.0], "action_high": [2.0], "flow_steps": 2,
        "deterministic": True, "observations_normalised": False,
    }  # fmt: skip
    assert {key: json.loads(metadata[key]) for key in expected} == expected
    assert metadata["exploration"] == "flow"
    assert {"sb3_qflex", "torch", "onnx"} <= json.loads(metadata["versions"]).keys()
    extra = {METADATA: ""}
    th.jit.load(model.export_torchscript(tmp_path / "policy", noise=True, task="mine"), _extra_files=extra)
    script = json.loads(extra[METADATA])
    assert (script["task"], script["deterministic"]) == ("mine", "false")
    assert json.loads(script["inputs"]) == {"obs": 3, "noise": 1}


def test_the_model_goes_on_training(tmp_path):
    model = small_model(BoxEnv()).learn(30)
    model.export_torchscript(tmp_path / "policy")
    before = model.predict(observations(model), deterministic=True)[0]
    model.learn(10, reset_num_timesteps=False)
    assert not np.array_equal(before, model.predict(observations(model), deterministic=True)[0])


_ELSEWHERE = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession("policy.onnx", providers=["CPUExecutionProvider"])
np.save("actions.npy", session.run(["action"], {"obs": np.load("obs.npy")})[0])
assert not {"torch", "sb3_qflex"} & sys.modules.keys()
"""


def test_another_folder_with_nothing_but_onnxruntime(tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = model_of("flow")
    model.export_onnx(tmp_path / "written.onnx")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "written.onnx").rename(tmp_path / "elsewhere" / "policy.onnx")
    obs = observations(model, 100)
    np.save(tmp_path / "elsewhere" / "obs.npy", obs)
    subprocess.run([sys.executable, "-c", _ELSEWHERE], cwd=tmp_path / "elsewhere", check=True)
    actions = np.load(tmp_path / "elsewhere" / "actions.npy")
    np.testing.assert_allclose(actions, model.predict(obs, deterministic=True)[0], rtol=0, atol=1e-5)


class Square(nn.Module):
    def forward(self, x):
        return x.square()


REFUSED = {
    "ascent": ({"exploration": "ascent"}, "exploration='ascent' cannot be exported"),
    "activation": ({"policy_kwargs": {"activation_fn": Square}}, r"Square\(\) at this place cannot be exported"),
    "branches on data": ({"policy_kwargs": {"features_extractor_class": Branching}}, "extractor Branching"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_exported_form_is_refused(case, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    options, message = REFUSED[case]
    model = small_model(BoxEnv(), **options)
    for export in (model.export_onnx, model.export_torchscript):
        with pytest.raises(ValueError, match=message):
            export(tmp_path / "policy")
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_are_refused(tmp_path):
    model = model_of("flow")
    with pytest.raises(ValueError, match="flow_steps must be an integer of at least 1, not 0"):
        model.export_torchscript(tmp_path / "policy", flow_steps=0)
    other = VecNormalize(make_vec_env("Pendulum-v1", 1))
    other.obs_rms.mean, other.obs_rms.var = np.zeros(7), np.ones(7)
    with pytest.raises(ValueError, match="belong to another task"):
        model.export_torchscript(tmp_path / "policy", vec_normalize=other)
    (tmp_path / "no.pkl").write_bytes(b"hello")
    with pytest.raises(ValueError, match=r"no\.pkl is no file of VecNormalize"):
        model.export_torchscript(tmp_path / "policy", vec_normalize=tmp_path / "no.pkl")


def test_without_onnx_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "sb3_qflex.export.onnx_graph", raising=False)
    monkeypatch.delattr("sb3_qflex.export.onnx_graph", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'sb3-qflex\[export\]'"):
        model_of("flow").export_onnx(tmp_path / "policy")

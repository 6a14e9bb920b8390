"""Exports of what acts by an unsquashed Gaussian: DynSynPPO, and PPO with Lattice's policies."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from helpers.exported import inputs_of, run_onnx
from helpers.small_models import BoxEnv, observations
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_qflex import DynSynPPO, LatticePPO, LatticePPOPolicy, LatticeRecurrentPPO
from sb3_qflex.cli import main as command
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export import export_onnx
from sb3_qflex.export.policy_module import ExportedPolicy

# Unequal and narrow, so that actions are clipped at both ends, and in float64.
BOX = spaces.Box(np.array([-0.1, 0.0, -0.3, 0.02, -2.0]), np.array([0.1, 0.2, 0.0, 0.3, 2.0]), dtype=np.float64)
SPACE = spaces.Dict({"position": spaces.Box(-1.0, 1.0, (3,), np.float32), "phase": spaces.Discrete(3)})
GROUPS = {"groups": [[3, 0], [1], [2, 4]]}

DICT, VECTOR = "MultiInputPolicy", "MlpPolicy"
CASES: dict[str, tuple[Any, str, dict[str, Any], dict[str, Any]]] = {
    "dynsyn": (DynSynPPO, VECTOR, GROUPS, {"weight_amp": 0.1}),
    "dynsyn, no weights yet": (DynSynPPO, VECTOR, GROUPS, {}),
    "dynsyn, dict": (DynSynPPO, DICT, GROUPS, {"weight_amp": 0.05}),
    "lattice": (LatticePPO, VECTOR, {}, {}),
    "lattice, no hidden layer": (LatticePPO, VECTOR, {"net_arch": []}, {}),
    "lattice, held noise": (LatticePPO, VECTOR, {}, {"use_sde": True, "sde_sample_freq": 4}),
    "lattice, dict": (LatticePPO, DICT, {"share_features_extractor": False}, {}),
}


def model_of(case: str, wrap: Any = lambda env: env) -> Any:
    """After some updates with large steps."""
    algorithm, policy, policy_kwargs, options = CASES[case]
    env = wrap(make_vec_env(lambda: BoxEnv(SPACE if policy == DICT else None, BOX), 2))
    arguments = {"n_steps": 32, "batch_size": 16, "learning_rate": 0.01, "seed": 0, "device": "cpu", **options}
    return algorithm(policy, env, policy_kwargs={"net_arch": [16, 8], **policy_kwargs}, **arguments).learn(128)


@pytest.mark.parametrize("case", CASES)
def test_all_forms_equal_predict(case: str, tmp_path: Path) -> None:
    model = model_of(case)
    obs = observations(model, 100)
    expected = model.predict(obs, deterministic=True)[0]
    bounds = BOX.low.astype(np.float32), BOX.high.astype(np.float32)
    assert 0.0 < np.isin(expected.astype(np.float32), bounds).mean() < 1.0, "Some are clipped, and not all."
    exported = ExportedPolicy(model.policy)
    inputs = inputs_of(exported, obs)
    tensors = [th.as_tensor(x) for x in inputs.values()]
    script = th.jit.load(model.export_torchscript(tmp_path / "policy.pt"))
    onnx = run_onnx(model.export_onnx(tmp_path / "policy.onnx"), inputs)
    for actions in (exported(*tensors).numpy(), script(*tensors).numpy(), onnx):
        assert actions.dtype == np.float32 and (actions >= BOX.low).all() and (actions <= BOX.high).all()
        np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["dynsyn", "dynsyn, no weights yet"])
def test_with_noise_as_an_input_dynsyn_samples_as_it_does(case: str, tmp_path: Path) -> None:
    model = model_of(case)
    obs, noise = observations(model, 50), np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    with th.no_grad():
        normal = model.policy.get_distribution(th.as_tensor(obs)).distribution
        latent = (normal.mean + normal.stddev * th.as_tensor(noise)).numpy()
    expected = model.policy.unscale_action(latent)
    inputs = {"obs": obs, "noise": noise}
    script = th.jit.load(model.export_torchscript(tmp_path / "policy.pt", noise=True))
    np.testing.assert_allclose(script(*map(th.as_tensor, inputs.values())).numpy(), expected, rtol=0, atol=1e-5)
    onnx = run_onnx(model.export_onnx(tmp_path / "policy.onnx", noise=True), inputs)
    np.testing.assert_allclose(onnx, expected, rtol=0, atol=1e-5)


def test_statistics_of_vec_normalize_are_folded_in(tmp_path: Path) -> None:
    model = model_of("dynsyn", lambda env: VecNormalize(env, clip_obs=1.2))
    raw = observations(model, 40)
    expected = model.predict(model.get_vec_normalize_env().normalize_obs(raw), deterministic=True)[0]
    actions = run_onnx(model.export_onnx(tmp_path / "policy.onnx"), {"obs": raw})
    np.testing.assert_allclose(actions, expected, rtol=0, atol=1e-5)


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="Lattice's noise has no exported form"):
        model_of("lattice").export_onnx(tmp_path / "policy.onnx", noise=True)
    recurrent = LatticeRecurrentPPO("MlpLstmPolicy", BoxEnv(), n_steps=8, device="cpu")
    with pytest.raises(UnsupportedError, match=r"LatticeRecurrentPPOPolicy has no exported form.*recurrent state"):
        export_onnx(recurrent, tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())


def test_sb3s_own_ppo_with_the_policy_is_exported_by_the_function(tmp_path: Path) -> None:
    model = PPO(LatticePPOPolicy, BoxEnv(action_space=BOX), n_steps=8, device="cpu")
    obs = observations(model)
    actions = run_onnx(export_onnx(model, tmp_path / "policy.onnx"), {"obs": obs})
    np.testing.assert_allclose(actions, model.predict(obs, deterministic=True)[0], rtol=0, atol=1e-5)


def test_the_command_exports_them_and_names_what_has_no_policy_file(tmp_path: Path) -> None:
    model = model_of("dynsyn")
    model.save(tmp_path / "model")
    words = ["export", str(tmp_path / "model.zip"), "--out", str(tmp_path / "policy"), "--format"]
    command.main([*words, "onnx"])
    obs = observations(model)
    actions = run_onnx(tmp_path / "policy.onnx", {"obs": obs})
    np.testing.assert_allclose(actions, model.predict(obs, deterministic=True)[0], rtol=0, atol=1e-5)
    with pytest.raises(SystemExit, match="A DynSynPPOPolicy has no policy file: use onnx or torchscript"):
        command.main([*words, "policy"])

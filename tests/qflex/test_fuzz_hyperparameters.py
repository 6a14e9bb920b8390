"""Hyperparameter files of any wrong shape end in an error that names the key, on the way that RL Zoo takes."""

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex.zoo.registration import register

register()

from rl_zoo3.exp_manager import ExperimentManager  # noqa: E402
from rl_zoo3.utils import ALGOS  # noqa: E402

GOOD: dict[str, Any] = {
    "n_timesteps": 1000.0,
    "policy": "MlpPolicy",
    "n_envs": 1,
    "buffer_size": 100,
    "learning_rate": 3e-4,
    "learning_starts": 10,
    "batch_size": 8,
    "gamma": 0.9,
    "train_freq": 1,
    "gradient_steps": 1,
    "policy_delay": 1,
    "n_steps": 1,
    "ent_coef": "auto",
    "target_entropy": -1.0,
    "flow_steps": 2,
    "guidance_steps": 2,
    "guidance_step_size": 0.01,
    "guidance_dtype": "float32",
    "bootstrap": "flow",
    "exploration": "flow",
    "preconditioner": "rms",
    "bad_states": "truncate",
    "divergence_factor": 100.0,
    "stats_window_size": 10,
    "optimize_memory_usage": False,
    "replay_buffer_kwargs": "dict(handle_timeout_termination=True)",
    "policy_kwargs": "dict(net_arch=[4])",
    "noise_type": "normal",
    "noise_std": 0.1,
    "normalize": False,
    "seed": 0,
    "device": "cpu",
}
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, -1.0, math.nan, math.inf]), st.text(max_size=6)
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.text(max_size=4), SCALARS, max_size=2),
    st.sampled_from(["dict(", "dict(nonsense=1)", "1e6", "lin_x", "auto_", ["step", 1]]),
)


def build(path: Path) -> Any:
    """What RL Zoo does between the file and the model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        experiment = ExperimentManager(None, "qflex", "Pendulum-v1", str(path.parent), verbose=0, config=str(path))
        entry, _ = experiment.read_hyperparameters()
        hyperparams, *_ = experiment._preprocess_hyperparams(entry)
        env = make_vec_env("Pendulum-v1", 1)
        return ALGOS["qflex"](env=env, **experiment._preprocess_action_noise(hyperparams, entry, env))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hyperparameters") / "qflex.yml"


def test_the_good_entry_builds(path: Path) -> None:
    path.write_text(yaml.safe_dump({"Pendulum-v1": GOOD}))
    assert build(path).bad_states == "truncate"


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(sorted(GOOD)), value=VALUES)
def test_a_wrong_value_names_its_key(key: str, value: Any, path: Path) -> None:
    path.write_text(yaml.safe_dump({"Pendulum-v1": {**GOOD, key: value}}))
    try:
        build(path)
    except (ValueError, TypeError) as error:
        # replay_buffer_kwargs and policy_kwargs say which of their own keys is unknown.
        assert key in str(error) or "unexpected keyword" in str(error), repr(error)


@pytest.mark.parametrize("missing", ["n_timesteps", "policy", "noise_std", "noise_type"])
def test_a_missing_key_is_named(missing: str, path: Path) -> None:
    path.write_text(yaml.safe_dump({"Pendulum-v1": {key: value for key, value in GOOD.items() if key != missing}}))
    with pytest.raises(ValueError, match=f"{missing}.* missing"):
        build(path)


def test_an_unknown_key_gets_its_near_match(path: Path) -> None:
    path.write_text(yaml.safe_dump({"Pendulum-v1": {**GOOD, "guidance_setps": 3}}))
    with pytest.raises(ValueError, match="'guidance_setps', did you mean 'guidance_steps'"):
        build(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping of environment ids"),
        ("- Pendulum-v1", "expected a mapping of environment ids"),
        ("Pendulum-v1: 3", "the entry 'Pendulum-v1' must be an environment id with a mapping"),
        ("Pendulum-v1: [policy, MlpPolicy]", "the entry 'Pendulum-v1'"),
        ("3: {}", "the entry 3 must be an environment id"),
        ("Pendulum-v1: {policy: [", "is not valid YAML"),
    ],
)
def test_files_of_the_wrong_shape(text: str, message: str, path: Path) -> None:
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        build(path)

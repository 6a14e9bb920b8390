"""An entry for QFlex may hold whatever RL Zoo takes for its own algorithms, in its files and in its documentation."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import yaml
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize

from sb3_qflex import QFlex
from sb3_qflex.common.keywords import keywords_of
from sb3_qflex.zoo.entry_checks import check_entry, check_file
from sb3_qflex.zoo.hyperparameters import zoo_folder
from sb3_qflex.zoo.registration import register

register()

from rl_zoo3.exp_manager import ExperimentManager  # noqa: E402

BASE = {
    "n_timesteps": 100,
    "policy": "MlpPolicy",
    "buffer_size": 100,
    "learning_starts": 50,
    "policy_kwargs": "dict(net_arch=[8])",
}
SHIPPED = {f"{path.stem}-{key}": entry for path in sorted(zoo_folder().glob("*.yml"))
           for key, entry in yaml.safe_load(path.read_text()).items()}  # fmt: skip


class Wrapper(gym.Wrapper):
    """Named by its class."""


class Callback(BaseCallback):
    """Given as an instance."""

    def _on_step(self) -> bool:
        return True

    def __repr__(self) -> str:  # part of a test's name, so without an address
        return "Callback()"


def set_up(folder: Path, algo: str, **changes: Any) -> tuple[Any, ExperimentManager]:
    """What ``rl_zoo3 train`` does with an entry, up to training; the changes stand for a Python config's objects."""
    path = folder / "entries.yml"
    path.write_text(yaml.safe_dump({"Pendulum-v1": BASE}))
    run = ExperimentManager(
        None, algo, "Pendulum-v1", str(folder), verbose=0, config=str(path), hyperparams=changes, eval_freq=-1,
        device="cpu",
    )  # fmt: skip
    run._save_config = lambda saved: None  # type: ignore[method-assign]
    setup = run.setup_experiment()
    assert setup is not None
    return setup[0], run


@pytest.mark.parametrize("name", SHIPPED)
def test_every_entry_that_rl_zoo_ships(name: str) -> None:
    entry = dict(SHIPPED[name])
    # What an algorithm itself takes differs; everything else is RL Zoo's, and ours too.
    arguments = {*keywords_of(QFlex), *entry}
    if entry.get("frame_stack") and entry.get("normalize"):
        with pytest.raises(ValueError, match="frame_stack and normalize do not go together"):
            check_entry(entry, arguments)
        entry.pop("normalize")
    check_entry({"n_timesteps": 1, **entry}, arguments)


@pytest.mark.parametrize(
    "changes",
    [
        {"normalize": {"norm_reward": False}},
        {"normalize": "{'norm_obs': True, 'norm_reward': False}"},
        {"normalize": "dict(norm_reward=False)"},
        {"normalize": None},
        {"env_wrapper": Wrapper},
        {"env_wrapper": [Wrapper]},
        {"env_wrapper": [{Wrapper: {}}, "sb3_contrib.common.wrappers.TimeFeatureWrapper"]},
        {"env_wrapper": {"gymnasium.wrappers.TimeLimit": {"max_episode_steps": 50}}},
        {"env_wrapper": None},
        {"env_wrapper": []},
        {"vec_env_wrapper": VecMonitor},
        {"vec_env_wrapper": "stable_baselines3.common.vec_env.VecMonitor"},
        {"vec_env_wrapper": {VecFrameStack: {"n_stack": 2}}},
        {"callback": Callback()},
        {"callback": [Callback(), {"rl_zoo3.callbacks.ParallelTrainCallback": {"gradient_steps": 2}}]},
        {"callback": {"rl_zoo3.callbacks.ParallelTrainCallback": {"gradient_steps": 2}}},
        {"callback": None},
        {"monitor_kwargs": "dict(info_keywords=('TimeLimit.truncated',))"},
        {"monitor_kwargs": {"info_keywords": ("TimeLimit.truncated",)}},
        {"monitor_kwargs": None},
        {"env_kwargs": {"g": 0.0}},
        {"env_kwargs": None},
        {"env_kwargs": {}},
        {"learning_rate": "linear_1e-3"},
        {"learning_rate": "lin_0.012486195510232303"},
        {"learning_rate": 1},
        {"frame_stack": None},
        {"frame_stack": 2},
        {"noise_type": " normal ", "noise_std": [0.1]},
        {"noise_type": "ornstein-uhlenbeck", "noise_std": 0.5},
        {"policy_kwargs": {"net_arch": [8]}},
        {"policy_kwargs": None},
        {"replay_buffer_class": None, "replay_buffer_kwargs": None},
        {"replay_buffer_kwargs": {"handle_timeout_termination": True}},
        {"train_freq": [1, "episode"]},
        {"vec_env_kwargs": None},
        {"use_sde": False},
        {"use_sde": False, "use_sde_at_warmup": False, "sde_sample_freq": -1},
    ],
    ids=str,
)
def test_what_rl_zoo_takes_for_sac(changes: dict[str, Any], tmp_path: Path) -> None:
    model, run = set_up(tmp_path, "qflex", **changes)
    set_up(tmp_path, "sac", **changes)
    # Ours has what the entry says, not only no error.
    assert isinstance(model, QFlex)
    assert isinstance(model.get_env(), VecNormalize) == bool(changes.get("normalize"))
    if "learning_rate" in changes:
        assert model.lr_schedule(1.0) == pytest.approx(float(str(changes["learning_rate"]).partition("_")[2] or 1))
    if isinstance(changes.get("callback"), Callback):
        assert changes["callback"] in run.callbacks


def test_a_number_that_yaml_reads_as_text(tmp_path: Path) -> None:
    # RL Zoo's page on its configuration has such a line.
    assert yaml.safe_load("learning_rate: 1e-3") == {"learning_rate": "1e-3"}
    assert set_up(tmp_path, "qflex", learning_rate="1e-3")[0].lr_schedule(1.0) == 1e-3
    assert set_up(tmp_path, "qflex", n_timesteps="1e3")[1].n_timesteps == 1000


def test_keys_that_are_not_read_are_not_checked(tmp_path: Path) -> None:
    path = tmp_path / "qflex.yml"
    path.write_text("{_net: &net 'dict(net_arch=[8])', 3: 4, Pendulum-v1: {policy_kwargs: *net}}")
    check_file(path, "Pendulum-v1")
    path.write_text("{_net: &net 'dict(net_arch=[8])', default: {policy_kwargs: *net}}")
    check_file(path, "Pendulum-v1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalize": "dict("}, "normalize must be true, false, a mapping"),
        ({"normalize": "[1]"}, "normalize must be"),
        ({"env_wrapper": "TimeFeatureWrapper"}, "env_wrapper must be a class or its dotted path"),
        ({"env_wrapper": [{"a.B": {}, "c.D": {}}]}, "env_wrapper must be"),
        ({"env_wrapper": [{"a.B": None}]}, "env_wrapper must be"),
        ({"callback": Callback}, "callback must be a callback or the dotted path of a class"),
        ({"monitor_kwargs": "info_keywords"}, "monitor_kwargs must be a mapping"),
        ({"env_kwargs": "dict(g=1)"}, "env_kwargs must be a mapping"),
        ({"learning_rate": True}, "learning_rate must be a number"),
        ({"learning_rate": "lin_a"}, "learning_rate must be a number"),
        ({"noise_type": ["normal"], "noise_std": 0.1}, "noise_type must be normal"),
        ({"noise_type": "normal", "noise_std": [0.1, -0.1]}, "noise_std must be a number of at least 0"),
        ({"n_envs": None}, "n_envs must be a whole number"),
    ],
    ids=str,
)
def test_what_rl_zoo_would_fail_on_names_its_key(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        set_up(tmp_path, "qflex", **changes)


@pytest.mark.parametrize("changes", [{}, {"sde_sample_freq": 4}, {"use_sde_at_warmup": True}], ids=str)
def test_gsde_is_refused_with_its_reason(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=r"QFlex has no option '.*sde.*': gSDE is not supported"):
        set_up(tmp_path, "qflex", use_sde=True, **changes)


@pytest.mark.parametrize("normalize", [True, {"norm_reward": False}, "dict(norm_obs=False)"], ids=str)
def test_frames_are_stacked_below_normalisation(normalize: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"vec_env_wrapper: \[\{stable_baselines3.*VecFrameStack: \{n_stack: 3\}\}\]"):
        set_up(tmp_path, "qflex", frame_stack=3, normalize=normalize)
    below = yaml.safe_load("[{stable_baselines3.common.vec_env.VecFrameStack: {n_stack: 3}}]")
    model, _ = set_up(tmp_path, "qflex", vec_env_wrapper=below, normalize=normalize)
    model.learn(80)
    assert model.observation_space.shape == (9,)
    # Learns from what it acts on.
    assert model.replay_buffer.observations.shape[-1] == 9
    model.env.close()

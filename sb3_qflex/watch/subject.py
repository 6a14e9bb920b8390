"""Who is watched: a trained model and one environment to watch it in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_qflex.qflex import QFlex
from sb3_qflex.zoo.registration import register
from sb3_qflex.zoo.run_folder import NoRunFolderError, RunFolder, open_run


@dataclass(frozen=True)
class Subject:
    """
    :param model: the trained model
    :param env: one environment, with the wrappers and statistics that the model was trained with
    :param name: environment id
    """

    model: QFlex
    env: VecEnv
    name: str

    @property
    def body(self) -> gym.Env:
        """The environment itself, below all wrappers."""
        vec_env = self.env.unwrapped
        assert isinstance(vec_env, DummyVecEnv)
        return vec_env.envs[0].unwrapped

    @property
    def dt(self) -> float:
        """Seconds of simulated time for one step: the environment's own ``dt``, or one frame of its ``render_fps``."""
        return float(getattr(self.body, "dt", None) or 1.0 / (self.body.metadata.get("render_fps") or 30))


def open_subject(
    path: Path, env_id: str | None = None, env_kwargs: dict[str, Any] | None = None, flow_steps: int | None = None
) -> Subject:
    """
    Load a model and make its environment.

    :param path: a run folder of RL Zoo (its last model), or a model's zip file. A zip file in a run folder, such as
        ``best_model.zip``, takes the environment of the run
    :param env_id: another environment than the run's; needed for a zip file elsewhere
    :param env_kwargs: arguments of the environment, in place of the run's of the same names
    :param flow_steps: Euler steps K of the flow, the model's own by default
    :return: model and environment, which draws pictures as arrays
    :raises FileNotFoundError: if there is no such file, or the run has no last model
    :raises ValueError: if there is no environment to be found, or the model is of another algorithm
    """
    register()
    run = _run_of(path)
    model_path = path
    if path.is_dir():
        assert run is not None
        model_path = run.final_model
    if not model_path.is_file():
        there = ", ".join(sorted(file.name for file in model_path.parent.glob("*.zip"))) or "none"
        raise FileNotFoundError(f"{model_path} does not exist; zip files beside it: {there}")
    if run is not None and run.algo != "qflex":
        raise ValueError(f"{path} is a run of {run.algo!r}: only QFlex has a source and a flow to watch")
    if run is None and env_id is None:
        raise ValueError(f"{path} is not in a run folder of RL Zoo, which would name its environment: give --env ID")
    env = _make_env(run, env_id, env_kwargs or {})
    overridden = {} if flow_steps is None else {"flow_steps": flow_steps}
    model = QFlex.load(model_path, env=env, device="cpu", **overridden)
    return Subject(model, env, env_id or str(run.env_name.gym_id))  # type: ignore[union-attr]


def _run_of(path: Path) -> RunFolder | None:
    """The run folder that is meant, or that a zip file lies in; None if it lies elsewhere."""
    if path.is_dir():
        return open_run(path)
    try:
        return open_run(path.parent)
    except NoRunFolderError:
        return None


def _make_env(run: RunFolder | None, env_id: str | None, env_kwargs: dict[str, Any]) -> VecEnv:
    kwargs = {**env_kwargs, "render_mode": "rgb_array"}
    if run is not None and env_id in (None, run.env_name.gym_id):
        return run.make_env(**kwargs)
    from rl_zoo3.utils import create_test_env

    assert env_id is not None
    return create_test_env(env_id, should_render=False, hyperparams={}, env_kwargs=kwargs)

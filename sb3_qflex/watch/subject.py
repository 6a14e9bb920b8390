"""Who is watched: a trained model, or a policy of the index, and one environment to watch it in."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_qflex.analysis.pretrained import load_pretrained
from sb3_qflex.analysis.trained import ModelError, load
from sb3_qflex.qflex.qflex import QFlex


@dataclass(frozen=True)
class Subject:
    """
    :param policy: what acts
    :param env: one environment, with the wrappers and statistics that the policy was trained with
    """

    policy: BasePolicy
    env: VecEnv

    @property
    def body(self) -> gym.Env:
        """The environment itself, below all wrappers."""
        vec_env = self.env.unwrapped
        assert isinstance(vec_env, DummyVecEnv)
        return vec_env.envs[0].unwrapped

    @property
    def dt(self) -> float:
        """
        Seconds of simulated time for one action: the environment's own ``dt``, or one frame of its ``render_fps``, as
        often as the action is held.
        """
        step = float(getattr(self.body, "dt", None) or 1.0 / (self.body.metadata.get("render_fps") or 30))
        return step * (self.env.get_attr("repeat")[0] if self.env.has_attr("repeat") else 1)


@dataclass(frozen=True)
class ModelSubject(Subject):
    """
    :param model: the trained model that the policy is of
    """

    model: BaseAlgorithm


def open_pretrained(id: str, folder: Path | None = None) -> Subject:
    """
    Load a policy of the index and make its task.

    :param id: its id
    :param folder: of policies, see :class:`sb3_qflex.pretrained.index.Collection`
    :return: policy and environment, which draws pictures as arrays
    :raises PretrainedError: if there is none, its file is another, or its task cannot be made here
    :raises FileNotFoundError: if its file is not there
    """
    found = load_pretrained(id, folder)
    task = replace(found.task, env_kwargs={**found.task.env_kwargs, "render_mode": "rgb_array"})
    return Subject(found.policy, task.make())


def open_subject(
    path: Path, env_id: str | None = None, env_kwargs: dict[str, Any] | None = None, flow_steps: int | None = None
) -> ModelSubject:
    """
    Load a model and make its environment.

    :param path: what :func:`sb3_qflex.analysis.trained.load` takes
    :param env_id: the environment of a zip file that is in no run folder
    :param env_kwargs: arguments of the environment, in place of the run's of the same names
    :param flow_steps: Euler steps K of the flow, the model's own by default
    :return: model and environment, which draws pictures as arrays
    :raises ModelError: if there is no model or environment to be found, or steps are given for a model without a flow
    """
    trained = load(path, env_id, env_kwargs={**(env_kwargs or {}), "render_mode": "rgb_array"})
    if env_id not in (None, trained.task.env_id):
        raise ModelError(f"{path} was trained on {trained.task.env_id}: leave out --env {env_id}")
    if flow_steps is not None:
        if not isinstance(trained.model, QFlex):
            raise ModelError(f"{path} is a {type(trained.model).__name__} model without a flow: leave out --flow-steps")
        trained.model.policy.flow_steps = flow_steps
    env = trained.model.get_env()
    assert env is not None
    return ModelSubject(trained.model.policy, env, trained.model)

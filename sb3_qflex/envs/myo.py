"""MyoSuite's hand and leg tasks with the paper's names; the dynamics, observations and rewards are MyoSuite's own."""

import copy
from collections.abc import Sequence
from functools import cache, partial
from math import isfinite
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from sb3_qflex.envs.divergence import bad_states, end_monitored_episode, is_finite
from sb3_qflex.envs.goals import DistanceGoals, myosuite_goals
from sb3_qflex.envs.reset_options import checked_options
from sb3_qflex.envs.wrappers import SigmoidExcitation


class MyoTask(gym.Wrapper, RecordConstructorArgs):
    """
    MyoSuite's task with the conventions of this package.

    ``info`` has the reward's terms, ``is_success`` (MyoSuite's ``solved``) and ``diverged``; MyoSuite's nested
    copies of the observation are left out. When the simulation diverges the episode terminates, unsolved, with
    ``info["diverged"]`` True, the observation of the step before and reward 0; ``divergences`` counts this.

    The environments of a process share the compiled model. Where the task writes into it at each reset, as the
    pen's does with its target, every environment puts its own values back before its steps.

    :param env: A MyoSuite environment
    :param written: Arrays of the model that the task writes at a reset
    """

    def __init__(self, env: gym.Env, written: Sequence[str] = ()) -> None:
        RecordConstructorArgs.__init__(self, written=tuple(written))
        gym.Wrapper.__init__(self, env)
        self.divergences = 0
        body: Any = env.unwrapped
        self._body = body
        self._written = {name: getattr(body.model, name).copy() for name in written}
        self._last_observation: NDArray[np.float32] = np.zeros(0, dtype=np.float32)

    @property
    def hindsight_goals(self) -> DistanceGoals | None:
        """Of the task itself or of MyoSuite's kinds, for :class:`sb3_qflex.HindsightReplayBuffer`; None for others."""
        own: DistanceGoals | None = getattr(self._body, "hindsight_goals", None)
        return own if own is not None else myosuite_goals(self._body)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """
        :param seed: Seed of the start states
        :param options: ``"qpos"`` (nq,) and ``"qvel"`` (nv,) replace the start state that MyoSuite draws
        :return: First observation and an empty info
        :raises ValueError: If an option is unknown, of the wrong shape or not finite
        """
        model, data = self._body.model, self._body.data
        state = checked_options(options, {"qpos": (model.nq,), "qvel": (model.nv,)})
        observation, _ = self.env.reset(seed=seed)
        for name, value in state.items():
            getattr(data, name)[:] = value
        if state:
            observation = self._body.forward()[0]
        for name, own in self._written.items():
            own[:] = getattr(self._body.model, name)
        self._last_observation = np.asarray(observation, dtype=np.float32)
        return self._last_observation, {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """
        :param action: Of the action space, finite
        :return: Observation, reward, whether the task ended, False and info
        :raises ValueError: If the action is not finite
        """
        if not is_finite(np.asarray(action)):
            raise ValueError(f"the action must be finite, got {action}")
        for name, own in self._written.items():
            getattr(self._body.model, name)[:] = own
        observation, reward, terminated, truncated, details = self.env.step(action)
        observation, reward = np.asarray(observation, dtype=np.float32), float(reward)
        if any(bad_states(self._body.data).tolist()) or not (is_finite(observation) and isfinite(reward)):
            self.divergences += 1
            terms = {name: 0.0 for name, value in details.items() if isinstance(value, float | np.floating)}
            ended = {"solved": False, "is_success": False, "diverged": True}
            info = {**terms, **ended, **end_monitored_episode(self.env)}
            return self._last_observation, 0.0, True, False, info
        self._last_observation = observation
        for nested in ("obs_dict", "rwd_dict"):
            details.pop(nested, None)
        info = {**details, "is_success": bool(details.get("solved", False)), "diverged": False}
        return observation, reward, bool(terminated), bool(truncated), info


class WithoutModelSource(gym.Wrapper, RecordConstructorArgs):
    """
    Frees the source that MyoSuite keeps beside its compiled model, about two thirds of an environment's memory: what
    many copies in one machine need. Trajectories are the same.

    :param env: A MyoSuite environment that does not change its model's geometry at a reset (its challenges may)
    :raises ValueError: If it does
    """

    def __init__(self, env: gym.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        body: Any = env.unwrapped
        trial = _copy(body)
        trial._mj_spec = None
        try:
            trial.reset()
        except AttributeError as error:
            raise ValueError(
                f"{env} edits its model at each reset (sizes or masses of objects), for which MyoSuite needs the "
                "model's source: leave WithoutModelSource out for this task."
            ) from error
        body._mj_spec = None


def make_myo(
    task: str,
    sigmoid: bool = False,
    camera_name: str | None = None,
    written: Sequence[str] = (),
    render_mode: str | None = None,
    **kwargs: Any,
) -> gym.Env:
    """
    :param task: MyoSuite's id
    :param sigmoid: Whether actions in [-1, 1] pass MyoSuite 2.x's excitation map; for tasks whose box is [0, 1]
    :param camera_name: Camera of the model to render from; None is the free camera
    :param written: Arrays of the model that the task writes at a reset
    :param render_mode: ``"rgb_array"``, ``"human"`` or None; with it the environment has a model of its own
    :param kwargs: Passed on to MyoSuite; with any the environment has a model of its own
    :return: The task without time limit, which the caller's registered id adds
    :raises gymnasium.error.DependencyNotInstalled: If MyoSuite is not installed
    """
    try:
        import myosuite  # noqa: F401 registers its ids
    except ImportError as error:
        raise gym.error.DependencyNotInstalled(
            f"{task} is a task of MyoSuite (Apache-2.0): run `pip install myosuite`"
        ) from error
    if render_mode is None and not kwargs:
        spec = copy.copy(gym.spec(task))
        spec.entry_point, spec.kwargs = partial(_twin, task), {}
        env = gym.make(spec, max_episode_steps=-1, disable_env_checker=True)
    else:
        env = gym.make(task, max_episode_steps=-1, disable_env_checker=True, render_mode=render_mode, **kwargs)
    body: Any = env.unwrapped
    body.render_camera = camera_name
    env = MyoTask(env, written)
    return SigmoidExcitation(env) if sigmoid else env


@cache
def _prototype(task: str) -> Any:
    """MyoSuite's environment as constructed, never reset or stepped."""
    return gym.make(task, disable_env_checker=True).unwrapped


def _twin(task: str) -> Any:
    """A further environment without compiling again, which takes MyoSuite 50 ms and 30 to 60 MB for each."""
    return _copy(_prototype(task))


def _copy(body: Any) -> Any:
    """MyoSuite's environment once more, on the same model and source, with a simulation of its own."""
    own = mujoco.MjData(body.model)
    memo = {id(shared): shared for shared in (body.model, body._mj_spec)}
    twin = object.__new__(type(body))
    vars(twin).update(copy.deepcopy(vars(body), {**memo, id(body.data): own}))
    return twin

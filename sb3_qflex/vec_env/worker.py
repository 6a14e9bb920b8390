"""The environments of one worker and what can be asked of them, whatever carries the questions."""

import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from threadpoolctl import threadpool_limits

from sb3_qflex.vec_env import env_state
from sb3_qflex.vec_env.errors import ErrorReport
from sb3_qflex.vec_env.infos import (
    EPISODE,
    MYOSUITE_SUCCESS,
    SUCCESS,
    TERMINAL,
    TRUNCATED,
    encode_scalar,
    scalar,
    success,
)
from sb3_qflex.vec_env.layout import Batch

Info = dict[str, Any]
# Infos of a step and of the resets after it, by index of the environment within the worker.
StepReply = tuple[dict[int, Info], dict[int, Info]]
# Whether all went well, and the answer or the error.
Reply = tuple[bool, Any]


class EnvGroup:
    """
    A few environments stepped one after the other with ``DummyVecEnv``'s semantics.

    :param is_abandoned: whether the asking process is gone, asked while building, which can take minutes
    """

    batch: Batch
    _info_keys: tuple[str, ...]

    def __init__(self, is_abandoned: Callable[[], bool] = lambda: False) -> None:
        self._is_abandoned = is_abandoned
        self.envs: list[gym.Env] = []
        self._last_infos: dict[int, Info] = {}
        # The environment in use, for error reports.
        self.current: int | None = None

    def build(self, env_fns: bytes) -> tuple[gym.Space, gym.Space]:
        """
        :param env_fns: a pickled list of functions, each returning an environment
        :return: observation and action space of the first environment
        :raises ValueError: if two functions return the same environment
        """
        for index, env_fn in enumerate(pickle.loads(env_fns)):
            self.current = index
            if self._is_abandoned():
                raise ConnectionError("nobody waits for these environments any more")
            self.envs.append(_gymnasium_env(env_fn()))
        self.current = None
        if len({id(env.unwrapped) for env in self.envs}) != len(self.envs):
            raise ValueError(
                "env_fns: two functions returned the same environment instance. "
                "Make each function build its own, as in [lambda: gym.make(...)] * n, not [lambda: env] * n."
            )
        limit_threads()
        return self.envs[0].observation_space, self.envs[0].action_space

    def attach(self, batch: Batch, info_keys: tuple[str, ...]) -> None:
        """
        :param batch: arrays of this worker's environments to read actions from and write results to
        :param info_keys: names of the scalars to write to ``batch.scalars``, where not whole infos are wanted
        """
        self.batch = batch
        self._info_keys = info_keys

    def handle(self, command: str, *args: Any) -> Reply:
        """
        :param command: name of a method of this class
        :param args: its arguments
        :return: (True, what it returned) or (False, an ``ErrorReport``)
        """
        self.current = None
        try:
            return True, getattr(self, command)(*args)
        # Also SystemExit: an environment calling sys.exit must be reported, not vanish.
        except BaseException as error:
            return False, ErrorReport.of(error, self.current)

    def reset(self, seeds: Sequence[int | None], options: Sequence[dict[str, Any]]) -> StepReply:
        """
        :param seeds: one per environment, None to leave its generator alone
        :param options: one per environment, passed on unless empty
        :return: no infos of a step, and the infos of the resets
        """
        reset_infos = {}
        for index, (env, seed, option) in enumerate(zip(self.envs, seeds, options, strict=True)):
            self.current = index
            maybe_options = {"options": option} if option else {}
            observation, reset_infos[index] = env.reset(seed=seed, **maybe_options)
            self._write_observation(index, observation)
        return {}, reset_infos

    def step(self, actions: Any, whole_infos: bool) -> StepReply:
        """
        Step every environment and reset those whose episode ended.

        :param actions: one per environment, None to take those of the batch
        :param whole_infos: whether the whole infos are wanted
        :return: the parts of the infos that do not fit the batch, and the infos of the resets
        """
        if actions is None:
            # A copy, since an environment may keep its last action while the batch gets the next.
            actions = self.batch.actions.copy()
        infos: dict[int, Info] = {}
        reset_infos: dict[int, Info] = {}
        for index, env in enumerate(self.envs):
            self.current = index
            observation, self.batch.rewards[index], terminated, truncated, info = env.step(actions[index])
            done = bool(terminated or truncated)
            self.batch.dones[index] = done
            self.batch.truncated[index] = info[TRUNCATED] = bool(truncated and not terminated)
            if done:
                info[TERMINAL] = observation
                observation, reset_infos[index] = env.reset()
            self._write_observation(index, observation)
            self._last_infos[index] = info
            if whole_infos:
                infos[index] = _with_success(info)
            else:
                self._write_info(index, info, infos)
        return infos, reset_infos

    def whole_infos(self) -> dict[int, Info]:
        """
        :return: the infos of the last step
        """
        return {index: _with_success(info) for index, info in self._last_infos.items()}

    def _write_observation(self, index: int, observation: Any) -> None:
        for key, array in self.batch.observations.items():
            array[index] = observation if key is None else observation[key]

    def _write_info(self, index: int, info: Info, infos: dict[int, Info]) -> None:
        for column, key in enumerate(self._info_keys):
            value, scalar_type = encode_scalar(key, scalar(info, key))
            self.batch.scalars[index, column] = value
            self.batch.scalar_types[index, column] = scalar_type
        rare = {key: info[key] for key in (TERMINAL, EPISODE) if key in info}
        if rare:
            infos[index] = rare

    def _each(self, indices: Sequence[int]) -> Iterator[gym.Env]:
        for index in indices:
            self.current = index
            yield self.envs[index]

    def get_attr(self, indices: Sequence[int], name: str) -> list[Any]:
        """
        :param indices: of the environments within the worker
        :param name: of an attribute of the environment or of a wrapper
        """
        return [env.get_wrapper_attr(name) for env in self._each(indices)]

    def has_attr(self, indices: Sequence[int], name: str) -> list[bool]:
        """
        :param indices: of the environments within the worker
        :param name: of an attribute of the environment or of a wrapper
        """
        return [env.has_wrapper_attr(name) for env in self._each(indices)]

    def set_attr(self, indices: Sequence[int], name: str, value: Any) -> list[None]:
        """
        :param indices: of the environments within the worker
        :param name: of an attribute of the outermost wrapper, as ``DummyVecEnv`` sets it
        :param value: to set
        """
        for env in self._each(indices):
            setattr(env, name, value)
        return [None] * len(indices)

    def env_method(self, indices: Sequence[int], name: str, args: tuple, kwargs: dict[str, Any]) -> list[Any]:
        """
        :param indices: of the environments within the worker
        :param name: of a method of the environment or of a wrapper
        :param args: positional arguments
        :param kwargs: keyword arguments
        """
        return [env.get_wrapper_attr(name)(*args, **kwargs) for env in self._each(indices)]

    def get_state(self, indices: Sequence[int]) -> list[bytes]:
        """
        :param indices: of the environments within the worker
        """
        return [env_state.dump(env_state.env_layers(env)) for env in self._each(indices)]

    def set_state(self, indices: Sequence[int], state: bytes) -> list[None]:
        """
        :param indices: of the environments within the worker
        :param state: as ``get_state`` of a like environment gave it
        """
        for env in self._each(indices):
            env_state.restore(env_state.env_layers(env), state)
        return [None] * len(indices)

    def is_wrapped(self, indices: Sequence[int], wrapper_class: type[gym.Wrapper]) -> list[bool]:
        """
        :param indices: of the environments within the worker
        :param wrapper_class: to look for
        """
        # SB3 imports torch; a worker does so only if asked this.
        from stable_baselines3.common.env_util import is_wrapped

        return [is_wrapped(env, wrapper_class) for env in self._each(indices)]

    def render(self, indices: Sequence[int]) -> list[np.ndarray | None]:
        """
        :param indices: of the environments within the worker
        """
        return [env.render() for env in self._each(indices)]  # type: ignore[misc]

    def close(self) -> None:
        """Close every environment."""
        for env in self._each(range(len(self.envs))):
            env.close()


def _with_success(info: Info) -> Info:
    if MYOSUITE_SUCCESS in info:
        info.setdefault(SUCCESS, success(info))
    return info


def limit_threads() -> None:
    """Use one thread per worker: the workers together already fill the cores."""
    threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _gymnasium_env(env: Any) -> gym.Env:
    if isinstance(env, gym.Env):
        return env
    from stable_baselines3.common.vec_env.patch_gym import _patch_env

    return _patch_env(env)

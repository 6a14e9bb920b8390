"""The environments of one worker and what can be asked of them, whatever carries the questions."""

import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
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
        """Build the environments of a pickled list of functions; returns the spaces of the first."""
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
        """Exchange actions and results through these arrays, with these scalars where infos are not sent whole."""
        self.batch = batch
        self._info_keys = info_keys

    def handle(self, command: str, *args: Any) -> Reply:
        """Call a method of this class: (True, what it returned) or (False, an ``ErrorReport``)."""
        self.current = None
        try:
            return True, getattr(self, command)(*args)
        # Also SystemExit: an environment calling sys.exit must be reported, not vanish.
        except BaseException as error:
            return False, ErrorReport.of(error, self.current)

    def reset(self, seeds: Sequence[int | None], options: Sequence[dict[str, Any]]) -> StepReply:
        """Reset with a seed (None leaves the generator alone) and options for each; returns the infos of the resets."""
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
        """The infos of the last step."""
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

    def each(self, command: str, indices: Sequence[int], *args: Any) -> list[Any]:
        """Answers of these environments of the worker to a command of ``_COMMANDS``."""
        answers = []
        for index in indices:
            self.current = index
            answers.append(_COMMANDS[command](self.envs[index], *args))
        return answers

    def close(self) -> None:
        """Close every environment."""
        self.each("close", range(len(self.envs)))


def _is_wrapped(env: gym.Env, wrapper_class: type[gym.Wrapper]) -> bool:
    # SB3 imports torch; a worker does so only if asked this.
    from stable_baselines3.common.env_util import is_wrapped

    return is_wrapped(env, wrapper_class)


# What single environments are asked. An attribute is set on the outermost wrapper, as ``DummyVecEnv`` sets it.
_COMMANDS: dict[str, Callable[..., Any]] = {
    "get_attr": lambda env, name: env.get_wrapper_attr(name),
    "has_attr": lambda env, name: env.has_wrapper_attr(name),
    "set_attr": setattr,
    "env_method": lambda env, name, args, kwargs: env.get_wrapper_attr(name)(*args, **kwargs),
    "get_state": lambda env: env_state.dump(env_state.env_layers(env)),
    "set_state": lambda env, state: env_state.restore(env_state.env_layers(env), state),
    "is_wrapped": _is_wrapped,
    "render": lambda env: env.render(),
    "close": lambda env: env.close(),
}


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

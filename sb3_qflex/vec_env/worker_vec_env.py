"""A ``VecEnv`` whose environments are shared out to a few workers.

SB3's ``SubprocVecEnv`` and gymnasium's ``AsyncVectorEnv`` run one process per environment, EnvPool runs environments
written in C++ only, and PufferLib (several environments per worker) has its own emulation layer and no ``VecEnv``:
none serves SB3 with many Python environments on a few cores, hence this one.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvObs, VecEnvStepReturn
from stable_baselines3.common.vec_env.util import dict_to_obs, obs_space_info

from sb3_qflex.vec_env.arguments import EnvFn, check_env_fns, check_workers, info_keys
from sb3_qflex.vec_env.backend import Backend, Worker, split
from sb3_qflex.vec_env.errors import NotSavableError, WorkerDiedError
from sb3_qflex.vec_env.idle_threads import IdleThreads
from sb3_qflex.vec_env.infos import TRUNCATED, PartialInfo, Rest, decode_scalar
from sb3_qflex.vec_env.layout import BatchLayout
from sb3_qflex.vec_env.process import ProcessBackend
from sb3_qflex.vec_env.worker import StepReply

# Environments may write videos when they are closed.
_CLOSE_SECONDS = 30.0


class WorkerVecEnv(VecEnv):
    """
    Steps many environments in a few workers, each with several environments in turn. Given the same seeds and
    actions it produces the trajectories of ``DummyVecEnv``. Returned arrays and infos belong to the caller.

    ``infos`` says what the info of a step holds:

    - ``"auto"``: the environment's whole info, unless an algorithm says through :meth:`essential_infos` that it keeps
      none, as those of this package do unless their replay buffer stores infos. What is read besides (by a callback,
      a wrapper) is then brought at the first reading, and infos are whole from then on;
    - ``"essential"``: what SB3 and the Zoo read, that is ``TimeLimit.truncated``, ``is_success`` (from MyoSuite's
      ``solved`` where missing), ``episode`` and ``terminal_observation``, as far as the environment gives them;
    - names: these scalars besides, found in the info or in MyoSuite's ``rwd_dict``;
    - ``"all"``: the environment's whole info, with ``is_success`` added where only ``solved`` is there.

    A key that the environment may have given and that was not sent is a ``KeyError``, for ``info.get`` as well.

    ``reset_infos`` are always whole. An exception of an environment is raised with its own type and with the worker's
    traceback as a note; the workers then still serve ``reset`` and ``close``. When a worker dies all are stopped.

    As with ``SubprocVecEnv``, a script must keep its statements under ``if __name__ == "__main__":`` unless
    ``start_method`` is "fork". Needs Linux or macOS.

    :param env_fns: functions that each return a new environment
    :param n_workers: number of workers, at most one per environment; by default the cores this process may use, with
        Ray those of the cluster
    :param start_method: of the processes, one of ``multiprocessing.get_all_start_methods()``; by default "forkserver"
        where available, else "spawn", as in SB3
    :param infos: "auto", "essential", "all", or names of further scalars
    :param backend: "process" for processes on this machine, "ray" for Ray actors on a cluster
    :param ray_options: options of the Ray actors (``num_cpus``, ``resources``, ``runtime_env``, ...)
    :raises ValueError: if an argument is out of range, or two functions return the same environment
    :raises TypeError: if an argument has the wrong type
    :raises WorkerDiedError: from any method, when a worker is gone
    """

    actions: np.ndarray

    def __init__(
        self,
        env_fns: list[EnvFn],
        n_workers: int | None = None,
        start_method: str | None = None,
        infos: str | Sequence[str] = "auto",
        backend: str = "process",
        ray_options: dict[str, Any] | None = None,
    ):
        env_fns = list(env_fns)
        check_env_fns(env_fns)
        check_workers(n_workers, start_method, backend, ray_options)
        self.closed = False
        self._why_closed = "close() was called"
        self._decides_infos = infos == "auto"
        self._whole_infos = infos in ("auto", "all")
        self._info_keys = info_keys(infos)
        # Of infos that are not whole: the same for all steps, unless the rest may be asked for.
        self._rest = Rest(self._info_keys)
        self._unseen_keys = list(self._info_keys[1:])
        self._workers: list[Worker] = []
        self._idle_threads = IdleThreads()
        try:
            self._start(env_fns, n_workers, _backend(backend, start_method, ray_options))
        except BaseException:
            # Also on Ctrl-C: building many environments takes long.
            self._abort("its construction failed")
            raise

    def _start(self, env_fns: list[EnvFn], n_workers: int | None, backend: Backend) -> None:
        n_envs = len(env_fns)
        rows = split(n_envs, min(n_workers or backend.cores, n_envs))
        for worker in backend.start([cloudpickle.dumps(env_fns[one]) for one in rows], rows):
            self._workers.append(worker)
        observation_space, action_space = self._replies(self._workers)[0]
        self._layout = _layout(n_envs, observation_space, action_space, self._info_keys)
        self._batch = backend.share(self._workers, self._layout)
        self._replies(self._workers)
        super().__init__(n_envs, observation_space, action_space)
        # As DummyVecEnv: the environment's metadata, which the video recorder reads.
        self.metadata = self.get_attr("metadata", 0)[0]

    def step_async(self, actions: np.ndarray) -> None:
        """
        Start a step in every environment.

        :param actions: one per environment
        :raises ValueError: if their number is another
        """
        if len(actions) != self.num_envs:
            raise ValueError(f"actions: expected one for each of the {self.num_envs} environments, got {len(actions)}")
        self._check_open()
        # An action of another type is passed as it is, since converting it could change the trajectory.
        shared = self._batch.actions
        fits = isinstance(actions, np.ndarray) and (actions.dtype, actions.shape) == (shared.dtype, shared.shape)
        # A worker may still have to read the last actions.
        self._finish_requests()
        if fits:
            shared[...] = actions
        self._rest.forget()
        self._idle_threads.dismiss()
        for worker in self._workers:
            self._request(worker, "step", None if fits else actions[worker.rows], self._whole_infos)

    def step_wait(self) -> VecEnvStepReturn:
        """
        Wait for the step to end.

        :return: observations, rewards, dones and infos
        :raises RuntimeError: if no step is under way
        """
        self._check_open()
        if not all(worker.pending for worker in self._workers):
            raise RuntimeError("step_wait: no step is under way, call step_async first")
        replies = self._replies(self._workers)
        infos = self._infos(replies)
        return self._observations(), self._batch.rewards.copy(), self._batch.dones.copy(), infos

    def reset(self) -> VecEnvObs:
        """
        Reset all environments, with the seeds and options set since the last reset.

        :return: observations
        """
        for worker in self._workers:
            self._request(worker, "reset", self._seeds[worker.rows], self._options[worker.rows])
        self._store_reset_infos(self._replies(self._workers))
        # Seeds and options are only used once.
        self._reset_seeds()
        self._reset_options()
        return self._observations()

    def _observations(self) -> VecEnvObs:
        # Copies: the workers write the next step into the same memory.
        copies = {key: array.copy() for key, array in self._batch.observations.items()}
        return dict_to_obs(self.observation_space, copies)

    def _infos(self, replies: list[StepReply]) -> list[dict[str, Any]]:
        self._store_reset_infos(replies)
        infos: list[dict[str, Any]] = [{TRUNCATED: one} for one in self._batch.truncated.tolist()]
        if not self._whole_infos:
            infos = self._partial(infos)
        for worker, (worker_infos, _) in zip(self._workers, replies, strict=True):
            for index, info in worker_infos.items():
                infos[worker.rows.start + index].update(info)
        self._warn_unseen(infos)
        return infos

    def _partial(self, infos: list[dict[str, Any]]) -> list[dict[str, Any]]:
        scalars, types = self._batch.scalars.tolist(), self._batch.scalar_types.tolist()
        for info, values, value_types in zip(infos, scalars, types, strict=True):
            for key, value, value_type in zip(self._info_keys, values, value_types, strict=True):
                if value_type:
                    info[key] = decode_scalar(value, value_type)
        if self._decides_infos:
            self._rest = Rest(self._info_keys, self._fetch_infos)
        return [PartialInfo(info, self._rest, index) for index, info in enumerate(infos)]

    def _fetch_infos(self) -> list[dict[str, Any]]:
        """The whole infos of the last step. Who reads them once will do so again: from now on they are sent."""
        self._whole_infos = True
        for worker in self._workers:
            self._request(worker, "whole_infos")
        return [info for reply in self._replies(self._workers) for info in reply.values()]

    @contextmanager
    def essential_infos(self) -> Iterator[None]:
        """
        What an algorithm enters while it learns if it reads no more of infos than SB3 does and keeps none of them: with
        ``infos="auto"`` the rest then stays in the workers until something else asks for it.
        """
        before = self._whole_infos
        self._whole_infos = before and not self._decides_infos
        try:
            yield
        finally:
            self._whole_infos = before

    def _store_reset_infos(self, replies: list[StepReply]) -> None:
        for worker, (_, reset_infos) in zip(self._workers, replies, strict=True):
            for index, reset_info in reset_infos.items():
                self.reset_infos[worker.rows.start + index] = reset_info

    def _warn_unseen(self, infos: list[dict[str, Any]]) -> None:
        missing = [key for key in self._unseen_keys if not any(key in info for info in infos)]
        self._unseen_keys = []
        if missing:
            warnings.warn(
                f"infos: no environment gave {missing} in its first step. infos='all' shows what there is.",
                stacklevel=4,
            )

    def has_attr(self, attr_name: str) -> bool:
        """
        :param attr_name: name of an attribute
        :return: whether every environment has it
        """
        return all(self._ask(None, "has_attr", attr_name))

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """
        :param attr_name: name of an attribute
        :param indices: of the environments, all by default
        :return: its values, copies of those in the workers
        """
        return self._ask(indices, "get_attr", attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """
        :param attr_name: name of an attribute
        :param value: to set
        :param indices: of the environments, all by default
        """
        self._ask(indices, "set_attr", attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list:
        """
        :param method_name: name of a method
        :param method_args: positional arguments
        :param indices: of the environments, all by default
        :param method_kwargs: keyword arguments
        :return: what it returned
        """
        return self._ask(indices, "env_method", method_name, method_args, method_kwargs)

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """
        :param wrapper_class: to look for
        :param indices: of the environments, all by default
        :return: whether each is wrapped in it
        """
        return self._ask(indices, "is_wrapped", wrapper_class)

    def get_state(self, limit_bytes: float = float("inf")) -> list[bytes]:
        """
        :param limit_bytes: how much all of them may take, judged by the first
        :return: the state of each environment with its wrappers, for ``set_state`` of a like ``WorkerVecEnv``
        :raises NotSavableError: if an environment holds something that cannot be pickled, or they are too large
        """
        first = self._ask(0, "get_state")[0]
        if len(first) * self.num_envs > limit_bytes:
            raise NotSavableError(
                f"the states of the {self.num_envs} environments, the first of {len(first)} bytes, take more than "
                f"{limit_bytes:.0f} bytes"
            )
        return self._ask(None, "get_state")

    def set_state(self, states: Sequence[bytes]) -> None:
        """
        Put the environments where others of the same kind were; no reset is needed.

        :param states: one per environment, as ``get_state`` gave them
        :raises NotSavableError: if the environments have other wrappers
        """
        for index, state in enumerate(states):
            self._ask(index, "set_state", state)

    def get_images(self) -> Sequence[np.ndarray | None]:
        """
        :return: one RGB image per environment, None if the render mode is not "rgb_array"
        """
        if self.render_mode != "rgb_array":
            warnings.warn(f"get_images needs render_mode='rgb_array', it is {self.render_mode!r}", stacklevel=2)
            return [None] * self.num_envs
        return self._ask(None, "render")

    def close(self) -> None:
        """Close the environments and end the workers. Further calls do nothing."""
        if self.closed:
            return
        self.closed = True
        self._rest.forget()
        for worker in self._workers:
            worker.begin_close()
        for worker in self._workers:
            worker.stop(_CLOSE_SECONDS)

    def _ask(self, indices: VecEnvIndices, command: str, *args: Any) -> list[Any]:
        """The answers of single environments, in the order of the indices."""
        self._check_open()
        # range() counts negative indices from the end and refuses those out of range, as a list does.
        wanted = [range(self.num_envs)[index] for index in self._get_indices(indices)]
        answers: dict[int, Any] = {}
        asked = []
        for worker in self._workers:
            mine = [index for index in wanted if worker.rows.start <= index < worker.rows.stop]
            if mine:
                self._request(worker, "each", command, [index - worker.rows.start for index in mine], *args)
                asked.append((worker, mine))
        replies = self._replies([worker for worker, _ in asked])
        for (_, mine), reply in zip(asked, replies, strict=True):
            answers.update(zip(mine, reply, strict=True))
        return [answers[index] for index in wanted]

    def _request(self, worker: Worker, command: str, *args: Any) -> None:
        self._check_open()
        try:
            worker.request(command, *args)
        except WorkerDiedError as error:
            self._abort(str(error))
            raise

    def _replies(self, workers: list[Worker]) -> list[Any]:
        """Answers of all workers, the first error only after all of them are in, so that none is left over."""
        replies: list[Any] = []
        first_error: Exception | None = None
        for worker in workers:
            try:
                replies.append(worker.reply())
            except WorkerDiedError as error:
                self._abort(str(error))
                raise
            except Exception as error:
                first_error = first_error or error
        if first_error is not None:
            raise first_error
        return replies

    def _finish_requests(self) -> None:
        """Wait for what an interruption, such as Ctrl-C, left under way."""
        try:
            for worker in self._workers:
                worker.discard()
        except WorkerDiedError as error:
            self._abort(str(error))
            raise

    def _abort(self, why: str) -> None:
        self.closed = True
        self._why_closed = why
        for worker in self._workers:
            worker.stop(0.0)

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError(f"This WorkerVecEnv is closed: {self._why_closed}. Build a new one.")


def _layout(
    n_envs: int, observation_space: gym.Space, action_space: gym.Space, info_keys: tuple[str, ...]
) -> BatchLayout:
    keys, shapes, dtypes = obs_space_info(observation_space)
    observations = {key: (tuple(shapes[key]), np.dtype(dtypes[key])) for key in keys}
    return BatchLayout(n_envs, (tuple(action_space.shape or ()), np.dtype(action_space.dtype)), observations, info_keys)


def _backend(name: str, start_method: str | None, ray_options: dict[str, Any] | None) -> Backend:
    if name == "process":
        return ProcessBackend(start_method)
    # Ray is optional, and takes long to import.
    from sb3_qflex.vec_env.ray_backend import RayBackend

    return RayBackend(ray_options)

"""Which replay buffer an algorithm uses, and which combinations are refused."""

import warnings
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_qflex.common.keywords import check_keywords
from sb3_qflex.common.memory import check_buffer_memory
from sb3_qflex.common.replay_hindsight import HindsightReplayBuffer, check_size, goals_of
from sb3_qflex.common.replay_recent import (
    AgeBiased,
    DictGeometricReplayBuffer,
    DictRecentReplayBuffer,
    GeometricReplayBuffer,
    RecentReplayBuffer,
)
from sb3_qflex.common.validation import UnsupportedError, check_count


def replay_buffer_class(
    given: type[ReplayBuffer] | None, observation_space: spaces.Space, n_steps: int
) -> type[ReplayBuffer]:
    """
    The class of the replay buffer.

    :param given: What the user chose; None for the standard one of the observations and ``n_steps``.
    :param observation_space: Observation space.
    :param n_steps: Steps of the return.
    """
    if given is not None:
        return given
    if isinstance(observation_space, spaces.Dict):
        return DictReplayBuffer
    return NStepReplayBuffer if n_steps > 1 else ReplayBuffer


def check_replay_buffer(
    given: type[ReplayBuffer] | None,
    kwargs: dict[str, Any],
    observation_space: spaces.Space,
    optimize_memory_usage: bool,
    n_steps: int,
    gamma: float,
) -> None:
    """
    Refuse combinations that SB3's buffers would ignore or get wrong.

    :param given: Class that the user chose, or None.
    :param kwargs: Keyword arguments that the user chose for it.
    :param observation_space: Observation space.
    :param optimize_memory_usage: Whether each observation is stored once.
    :param n_steps: Steps of the return.
    :param gamma: Discount factor of the algorithm.
    :raises UnsupportedError: For a combination that is not supported.
    :raises ValueError: For arguments of our own buffers that are out of range.
    :raises TypeError: For unknown ones.
    """
    check_count("n_steps", n_steps)
    if given is not None and not (isinstance(given, type) and issubclass(given, ReplayBuffer)):
        raise UnsupportedError(f"replay_buffer_class must be a subclass of SB3's ReplayBuffer, not {given!r}.")
    buffer_class = replay_buffer_class(given, observation_space, n_steps)
    is_dict = isinstance(observation_space, spaces.Dict)
    if is_dict != issubclass(buffer_class, DictReplayBuffer):
        need = "a DictReplayBuffer (HerReplayBuffer is one)" if is_dict else "a ReplayBuffer that is not for Dict"
        raise UnsupportedError(
            f"{type(observation_space).__name__} observations need {need}, not {buffer_class.__name__}."
        )
    if issubclass(buffer_class, AgeBiased | HindsightReplayBuffer):
        check_keywords("replay_buffer_kwargs", kwargs, buffer_class)
        buffer_class.check_arguments(kwargs)
    _check_n_steps(buffer_class, kwargs, observation_space, n_steps, gamma)
    if optimize_memory_usage:
        _check_memory_usage(buffer_class, kwargs, observation_space)


def _check_n_steps(
    buffer_class: type[ReplayBuffer],
    kwargs: dict[str, Any],
    observation_space: spaces.Space,
    n_steps: int,
    gamma: float,
) -> None:
    if not issubclass(buffer_class, NStepReplayBuffer):
        if n_steps > 1:
            raise UnsupportedError(
                f"n_steps={n_steps} works with Box observations and NStepReplayBuffer (or a subclass), not with "
                f"{type(observation_space).__name__} observations in a {buffer_class.__name__}, which would ignore it. "
                "Set n_steps=1 or leave replay_buffer_class out."
            )
        return
    if n_steps > 1 and kwargs.get("n_steps", n_steps) != n_steps:
        raise UnsupportedError(
            f"n_steps={n_steps} and replay_buffer_kwargs['n_steps']={kwargs['n_steps']} disagree: give it once."
        )
    if kwargs.get("gamma", gamma) != gamma:
        raise UnsupportedError(
            f"gamma={gamma} and replay_buffer_kwargs['gamma']={kwargs['gamma']} disagree: leave the second out."
        )


def _check_memory_usage(
    buffer_class: type[ReplayBuffer], kwargs: dict[str, Any], observation_space: spaces.Space
) -> None:
    if not isinstance(observation_space, spaces.Box) or issubclass(buffer_class, NStepReplayBuffer):
        raise UnsupportedError(
            "optimize_memory_usage works with Box observations and one-step returns, not with "
            f"{type(observation_space).__name__} observations in a {buffer_class.__name__}."
        )
    if kwargs.get("handle_timeout_termination", True):
        raise UnsupportedError(
            "optimize_memory_usage cannot tell time limits from terminations: set it to False, or pass "
            "replay_buffer_kwargs={'handle_timeout_termination': False}, and time limits count as terminations."
        )


def make_replay_buffer(
    given: type[ReplayBuffer] | None,
    kwargs: dict[str, Any],
    buffer_size: int,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    env: VecEnv | None,
    device: th.device,
    optimize_memory_usage: bool,
    n_steps: int,
    gamma: float,
    n_envs: int,
) -> ReplayBuffer:
    """
    Allocate the replay buffer of a checked combination.

    :param given: Class that the user chose, or None.
    :param kwargs: Keyword arguments that the user chose for it.
    :param buffer_size: Transitions over all environments.
    :param observation_space: Of the model.
    :param action_space: Of the model.
    :param env: The training environment; HER computes its rewards with it.
    :param device: Where samples go.
    :param optimize_memory_usage: Whether each observation is stored once.
    :param n_steps: Steps of the return.
    :param gamma: Discount factor.
    :param n_envs: Environments whose transitions it holds.
    :raises MemoryError: If it would not fit into the memory of the machine or of the container.
    :raises ValueError: For hindsight without an environment.
    :raises UnsupportedError: For an environment that does not say what its goals are.
    """
    buffer_class = replay_buffer_class(given, observation_space, n_steps)
    check_buffer_memory(buffer_class, buffer_size, n_envs, observation_space, action_space, optimize_memory_usage)
    kwargs = dict(kwargs)
    if issubclass(buffer_class, HerReplayBuffer):
        kwargs["env"] = _needed(env, buffer_class)
    if issubclass(buffer_class, HindsightReplayBuffer) and "goals" not in kwargs:
        kwargs["goals"] = goals_of(_needed(env, buffer_class))
    if issubclass(buffer_class, NStepReplayBuffer):
        kwargs = {"n_steps": n_steps, "gamma": gamma, **kwargs}
    return buffer_class(
        buffer_size,
        observation_space,
        action_space,
        device=device,
        n_envs=n_envs,
        optimize_memory_usage=optimize_memory_usage,
        **kwargs,
    )


def check_goals(given: type[ReplayBuffer] | None, kwargs: dict[str, Any], env: VecEnv | None) -> None:
    """
    Refuse an environment whose goals a :class:`HindsightReplayBuffer` would not know, before anything is collected.

    :param given: Class that the user chose, or None.
    :param kwargs: Keyword arguments that the user chose for it.
    :param env: The training environment, if there is one already.
    :raises UnsupportedError: If the buffer is one and the environment does not say what its goals are, or they are
        those of other observations.
    """
    if env is not None and given is not None and issubclass(given, HindsightReplayBuffer):
        check_size(kwargs["goals"] if "goals" in kwargs else goals_of(env), env.observation_space)


def _needed(env: VecEnv | None, buffer_class: type[ReplayBuffer]) -> VecEnv:
    if env is None:
        raise ValueError(
            f"A {buffer_class.__name__} needs the environment: pass env= to load(), or call set_env() first."
        )
    return env


def may_keep_infos(buffer: ReplayBuffer) -> bool:
    """
    :param buffer: A replay buffer.
    :return: Whether it stores infos of steps, as HER does where told to; of classes of others nothing is known.
    """
    own = (ReplayBuffer, DictReplayBuffer, NStepReplayBuffer, HerReplayBuffer, GeometricReplayBuffer)
    others = (DictGeometricReplayBuffer, RecentReplayBuffer, DictRecentReplayBuffer, HindsightReplayBuffer)
    return type(buffer) not in (*own, *others) or getattr(buffer, "copy_info_dict", False)


def check_loaded_buffer(
    buffer: ReplayBuffer, observation_space: spaces.Space, action_space: spaces.Space, n_envs: int
) -> None:
    """
    :param buffer: A replay buffer from elsewhere.
    :param observation_space: That of the model.
    :param action_space: That of the model.
    :param n_envs: That of the model.
    :raises UnsupportedError: If the buffer was filled by other spaces or another number of environments.
    """
    if buffer.observation_space != observation_space or buffer.action_space != action_space:
        raise UnsupportedError(
            f"The replay buffer holds observations of {buffer.observation_space} and actions of {buffer.action_space}, "
            f"and the model works with {observation_space} and {action_space}: load a buffer of the same task."
        )
    if buffer.n_envs != n_envs:
        raise UnsupportedError(
            f"The replay buffer was filled by {buffer.n_envs} environments and the model has {n_envs}: go on with "
            f"{buffer.n_envs} environments, or without the buffer."
        )


def check_loaded_returns(buffer: ReplayBuffer, n_steps: int, gamma: float) -> None:
    """
    :param buffer: A replay buffer from elsewhere.
    :param n_steps: Steps of the return of the model; 1 where the buffer's own arguments say it.
    :param gamma: Discount factor of the model.
    :raises UnsupportedError: If the buffer computes other returns than the model is asked to learn from.
    """
    given = (buffer.n_steps, buffer.gamma) if isinstance(buffer, NStepReplayBuffer) else (1, gamma)
    if (n_steps > 1 and given[0] != n_steps) or given[1] != gamma:
        raise UnsupportedError(
            f"The replay buffer computes returns with n_steps={given[0]} and gamma={given[1]}, and the model has "
            f"n_steps={n_steps} and gamma={gamma}: go on with the values of the buffer, or without it."
        )


def check_returns(buffer: ReplayBuffer, n_steps: int) -> None:
    """
    :param buffer: The replay buffer in use.
    :param n_steps: Steps of the return that the model is to learn from.
    :raises UnsupportedError: If the buffer cannot compute such returns.
    """
    if n_steps > 1 and not isinstance(buffer, NStepReplayBuffer):
        raise UnsupportedError(
            f"n_steps={n_steps} needs an NStepReplayBuffer, and the model has a {type(buffer).__name__} already: "
            "`del model.replay_buffer` first, which gives its transitions up, or make a new model."
        )


def empty(buffer: ReplayBuffer) -> None:
    """
    Forget all transitions, in place: the step at hand is stored in this very object.

    :param buffer: A replay buffer.
    """
    buffer.reset()
    if isinstance(buffer, HerReplayBuffer):  # which goes by its episodes, and leaves them
        for episodes in (buffer.ep_start, buffer.ep_length, buffer._current_ep_start):
            episodes.fill(0)


def assign_return(buffer: ReplayBuffer | None, name: str, value: float) -> None:
    """
    :param buffer: The replay buffer in use, if there is one.
    :param name: "n_steps" or "gamma".
    :param value: What its returns have from now on, where it knows returns of several steps.
    """
    if isinstance(buffer, NStepReplayBuffer):
        setattr(buffer, name, value)


def follow_returns(buffer: ReplayBuffer, n_steps: int, gamma: float) -> None:
    """
    Let a buffer compute the returns that the model has now: both may have been assigned since it was made.

    :param buffer: The replay buffer.
    :param n_steps: Steps of the return of the model; 1 where the buffer's own arguments say it.
    :param gamma: Discount factor of the model.
    """
    if isinstance(buffer, NStepReplayBuffer):
        buffer.gamma = gamma
        if n_steps > 1:
            buffer.n_steps = n_steps


def cut_streams(buffer: ReplayBuffer) -> None:
    """
    Mark the last transition of every stream as truncated, since its environment does not go on from there.

    :param buffer: Replay data, of which n-step returns and hindsight would reach across
    """
    if buffer.size() == 0:
        return
    if isinstance(buffer, HerReplayBuffer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # says that it truncates
            buffer.truncate_last_trajectory()
    else:
        truncate(buffer, (buffer.pos - 1) % buffer.buffer_size)


def truncate(buffer: ReplayBuffer, index: int) -> None:
    """
    :param buffer: Replay data
    :param index: Of the row whose transitions, where their episodes go on, become the last ones
    """
    open_streams = buffer.dones[index] == 0
    buffer.dones[index, open_streams] = 1.0
    if buffer.handle_timeout_termination:
        buffer.timeouts[index, open_streams] = 1.0

"""The states of a ``VecEnv``'s environments and wrappers, where they can be written down."""

import copy
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecNormalize, unwrap_vec_normalize

from sb3_qflex.vec_env import env_state
from sb3_qflex.vec_env.errors import NotSavableError

# Models of simulators are part of the state, once for each environment.
_LIMIT_BYTES = 2**30
#: Of ``VecNormalize``.
_STATISTICS = ("obs_rms", "ret_rms")
_SETTINGS = ("training", "norm_obs", "norm_reward", "norm_obs_keys", "clip_obs", "clip_reward", "epsilon")


@dataclass(frozen=True)
class EnvironmentStates:
    """What the ``VecEnvWrapper`` layers hold, and each environment's state or what ``VecEnv.get_state`` gave."""

    wrappers: bytes
    environments: Any


def get_states(venv: VecEnv) -> EnvironmentStates:
    """States of a training environment; a ``NotSavableError`` if it cannot be pickled or is too large."""
    wrappers, base = _vec_layers(venv)
    return EnvironmentStates(env_state.dump(wrappers, base), _get(base))


def _get(base: VecEnv) -> Any:
    # Here, since most trainings have no worker processes, and whoever imports QFlex would load what they need.
    from sb3_qflex.vec_env import WorkerVecEnv

    if isinstance(base, WorkerVecEnv):
        return base.get_state(_LIMIT_BYTES)
    if isinstance(base, DummyVecEnv):
        return _dump(base.envs)
    if hasattr(base, "get_state"):
        try:
            return pickle.loads(pickle.dumps(base.get_state()))
        except Exception as error:
            # Whatever a method of somebody else's class raises that may mean something else by its name.
            raise NotSavableError(f"{type(base).__name__}.get_state() gives none that pickles: {error!r}") from error
    raise NotSavableError(
        f"{type(base).__name__} gives no access to the states of its environments; DummyVecEnv and "
        "sb3_qflex.vec_env.WorkerVecEnv do"
    )


def _dump(envs: Sequence[gym.Env]) -> list[bytes]:
    states: list[bytes] = []
    size = 0
    for env in envs:
        states.append(env_state.dump(env_state.env_layers(env)))
        size += len(states[-1])
        # Checked one by one: all of them may be more than the memory holds.
        if size > _LIMIT_BYTES:
            raise NotSavableError(f"the states of the {len(envs)} environments take more than {_LIMIT_BYTES} bytes")
    return states


def set_states(venv: VecEnv, states: EnvironmentStates) -> None:
    """Put an environment where a like one was; after a ``NotSavableError`` it needs a reset."""
    wrappers, base = _vec_layers(venv)
    settings = [_settings(wrapper) for wrapper in wrappers]
    try:
        env_state.restore(wrappers, states.wrappers, base)
        if isinstance(base, DummyVecEnv):
            for env, state in zip(base.envs, states.environments, strict=True):
                env_state.restore(env_state.env_layers(env), state)
        elif hasattr(base, "set_state"):
            base.set_state(states.environments)
        else:
            raise NotSavableError(f"{type(base).__name__} gives no access to its environments")
    except NotSavableError:
        raise
    except Exception as error:
        # Whatever unpickling raises where a class has moved, or the VecEnv is of another kind.
        raise NotSavableError(f"the saved states do not fit: {error!r}") from error
    finally:
        for wrapper, own in zip(wrappers, settings, strict=True):
            vars(wrapper).update(own)


def _settings(wrapper: VecEnvWrapper) -> dict[str, Any]:
    """What of ``VecNormalize`` its maker decided: that of the present one stays."""
    if not isinstance(wrapper, VecNormalize):
        return {}
    return {name: value for name, value in vars(wrapper).items() if name in _SETTINGS}


def _vec_layers(venv: VecEnv) -> tuple[list[VecEnvWrapper], VecEnv]:
    wrappers: list[VecEnvWrapper] = []
    while isinstance(venv, VecEnvWrapper):
        wrappers.append(venv)
        venv = venv.venv
    return wrappers, venv


def restore_statistics(venv: VecEnv, saved: bytes | None) -> str | None:
    """Give a saved ``VecNormalize``'s statistics to the environment's; returns what is wrong, None if nothing is."""
    present = unwrap_vec_normalize(venv)
    if (present is None) != (saved is None):
        return (
            f"The training was {'without' if saved is None else 'with'} VecNormalize, and the given environment "
            f"is {'without' if present is None else 'with'} it: wrap it as before. Its statistics come from the "
            "checkpoint."
        )
    if present is not None and saved is not None:
        loaded: VecNormalize = pickle.loads(saved)
        # There are no statistics of observations with norm_obs=False, and asking a loaded one for them does not end.
        vars(present).update({name: copy.deepcopy(vars(loaded)[name]) for name in _STATISTICS if name in vars(loaded)})
    return None

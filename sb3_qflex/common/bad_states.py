"""Stops non-finite and exploding numbers of environments below everything that would keep them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_qflex.common.each_array import each_array

#: Magnitude from which MuJoCo itself calls a simulation unstable.
LIMIT = 1e10
#: Truncated steps that are always allowed, and their largest share of all steps after that.
FREE_BAD_STATES = 100
MAX_SHARE = 0.01
_RESETS = 3
_ATTRIBUTE = "_bad_state_guard"
_METHODS = ("step_async", "step_wait", "reset")

Mode = Literal["raise", "truncate"]


class BadStateError(ValueError):
    """An environment gave, or was given, a number that is not finite or beyond the limit."""


class _Bad(NamedTuple):
    env: int
    what: str  # such as "observation[3] is nan"


class BadStateGuard:
    """
    Checks what a ``VecEnv`` gives and gets, at each step: one pass over observations and rewards.

    It takes the place of the methods ``step_async``, ``step_wait`` and ``reset`` of this one object instead of being a
    ``VecEnvWrapper``: SB3's ``EvalCallback`` refuses a training environment whose ``VecNormalize`` has another stack
    below it than that of the evaluation environment, and warns when the types differ.

    :param venv: The innermost ``VecEnv``
    :param mode: "raise" an error that names environment, step and entry; or "truncate" the episode at the last
        observation that was good, with reward 0, ``info["diverged"]`` True and what was wrong in
        ``info["bad_state"]``, and reset that environment. Bad actions always raise
    :param limit: Magnitude beyond which a number is bad, positive; infinity for non-finite ones only
    :raises ValueError: For another mode or limit
    """

    def __init__(self, venv: VecEnv, mode: Mode = "raise", limit: float = LIMIT):
        if mode not in ("raise", "truncate"):
            raise ValueError(f"mode={mode!r}: choose 'raise' or 'truncate'.")
        if not limit > 0.0:
            raise ValueError(f"limit must be a positive number, not {limit!r}.")
        self.venv, self.limit = venv, limit
        self.mode: Mode | Literal["off"] = mode
        self._replaced: dict[str, Callable[..., Any]] = {}
        self.bad_states = 0
        self.steps = 0
        self._last: VecEnvObs | None = None

    def attach(self) -> None:
        """Guard the environment from now on, above what somebody else has put in the place of its methods."""
        # On the object itself, not its class: other environments of the class stay as they are.
        self._replaced = {name: vars(self.venv)[name] for name in _METHODS if name in vars(self.venv)}
        for name in _METHODS:
            setattr(self.venv, name, getattr(self, name))
        setattr(self.venv, _ATTRIBUTE, self)

    def detach(self) -> None:
        """Leave the environment as it was. A method that somebody has replaced since then passes through the guard."""
        self.mode = "off"
        own = vars(self.venv)
        if any(own.get(name) != getattr(self, name) for name in _METHODS):
            return
        for name in (*_METHODS, _ATTRIBUTE):
            del own[name]
        own.update(self._replaced)

    def _below(self, name: str, *args: Any) -> Any:
        # Not as an attribute of the object, whose names lead here.
        below = self._replaced.get(name) or partial(getattr(type(self.venv), name), self.venv)
        return below(*args)

    def step_async(self, actions: np.ndarray) -> None:
        """
        :param actions: One for each environment
        :raises BadStateError: If one of them is bad
        """
        if self.mode != "off" and not self._is_good(actions):
            bad = next(self._bad_entries("action", np.asarray(actions)))
            raise BadStateError(f"{self._where(bad)}: the policy or the action noise has diverged.")
        self._below("step_async", actions)

    def step_wait(self) -> VecEnvStepReturn:
        """
        :return: Observations, rewards, dones and infos, all good
        :raises BadStateError: In mode "raise", and where truncating does not help
        """
        result = self._below("step_wait")
        if self.mode == "off":
            return result
        self.steps += 1
        bad = self._bad_of_step(*result)
        if bad:
            result = self._truncated(result, bad)
        self._last = each_array(np.copy, result[0])
        return result

    def reset(self) -> VecEnvObs:
        """
        :return: Observations, all good
        :raises BadStateError: In mode "raise", and where another reset does not help
        """
        observations = self._below("reset")
        if self.mode == "off":
            return observations
        bad = self._bad_observations(observations)
        if bad:
            observations = each_array(np.copy, observations)
            for one in bad.values():
                self._raise_unless_truncating(one)
                self._restart(observations, one)
        self._last = each_array(np.copy, observations)
        return observations

    # --- What is bad ---

    def _is_good(self, values: Any) -> bool:
        values = np.asarray(values)
        # A NaN is the largest of its array, and not below any limit.
        return values.dtype.kind != "f" or values.size == 0 or bool(np.abs(values).max() <= self._finite_limit(values))

    def _finite_limit(self, values: np.ndarray) -> float:
        return min(self.limit, float(np.finfo(values.dtype).max))

    def _bad_entries(self, name: str, values: np.ndarray) -> Iterator[_Bad]:
        """The first bad entry of each environment's row."""
        rows = values.reshape(len(values), -1)
        bad = ~(np.abs(rows) <= self._finite_limit(values))
        for index in np.flatnonzero(bad.any(axis=1)).tolist():
            entry = int(bad[index].argmax())
            subscript = ", ".join(map(str, np.unravel_index(entry, values.shape[1:]))) if values.ndim > 1 else ""
            yield _Bad(index, f"{name}{f'[{subscript}]' if subscript else ''} is {rows[index, entry]:g}")

    def _bad_observations(self, observations: VecEnvObs) -> dict[int, _Bad]:
        bad: dict[int, _Bad] = {}
        for name, values in _parts(observations):
            if not self._is_good(values):
                for one in self._bad_entries(name, np.asarray(values)):
                    bad.setdefault(one.env, one)
        return bad

    def _bad_of_step(
        self, observations: VecEnvObs, rewards: np.ndarray, dones: np.ndarray, infos: list[dict[str, Any]]
    ) -> dict[int, _Bad]:
        bad = self._bad_observations(observations)
        if not self._is_good(rewards):
            for one in self._bad_entries("reward", rewards):
                bad.setdefault(one.env, one)
        for index in np.flatnonzero(dones).tolist():
            for name, values in _parts(infos[index].get("terminal_observation", 0.0)):
                if not self._is_good(values):
                    entry = next(self._bad_entries(f"terminal {name}", np.asarray(values)[None]))
                    bad.setdefault(index, entry._replace(env=index))
        return bad

    # --- What is done about it ---

    def _truncated(self, result: VecEnvStepReturn, bad: dict[int, _Bad]) -> VecEnvStepReturn:
        observations, infos = each_array(np.copy, result[0]), result[3]
        rewards, dones = result[1].copy(), result[2].copy()
        for index, one in bad.items():
            self._raise_unless_truncating(one)
            if self._last is None:
                raise BadStateError(f"{self._where(one)}, and no good observation of this run is known: reset first.")
            # An environment whose episode ended has been reset already, and may be in a good state.
            started_badly = bool(self._bad_observations(_rows(observations, slice(index, index + 1))))
            if not dones[index] or started_badly:
                self._restart(observations, one)
            rewards[index], dones[index] = 0.0, True
            # A Monitor's sum of rewards holds the bad one; a success without an episode would be one too many.
            infos[index].pop("episode", None)
            infos[index].pop("is_success", None)
            infos[index].update(
                {
                    "TimeLimit.truncated": True,
                    "terminal_observation": each_array(np.array, _rows(self._last, index)),
                    "diverged": True,
                    "bad_state": one.what,
                }
            )
        self.bad_states += len(bad)
        self._raise_if_too_many(next(iter(bad.values())))
        return observations, rewards, dones, infos

    def _restart(self, observations: VecEnvObs, bad: _Bad) -> None:
        """Reset one environment and write its first observation."""
        for _ in range(_RESETS):
            observation, info = self.venv.env_method("reset", indices=[bad.env])[0]
            for (_, values), (_, value) in zip(_parts(observations), _parts(observation), strict=True):
                values[bad.env] = value
            if not self._bad_observations(_rows(observations, slice(bad.env, bad.env + 1))):
                infos = list(self.venv.reset_infos)
                infos[bad.env] = info
                self.venv.reset_infos = infos
                return
        raise BadStateError(f"{self._where(bad)}, and {_RESETS} resets did not give a good observation.")

    def _raise_unless_truncating(self, bad: _Bad) -> None:
        if self.mode == "raise":
            raise BadStateError(
                f'{self._where(bad)}. Mend the environment, or pass bad_states="truncate" to the model to end such '
                "episodes at the last good observation."
            )

    def _raise_if_too_many(self, bad: _Bad) -> None:
        allowed = max(FREE_BAD_STATES, MAX_SHARE * self.steps * self.venv.num_envs)
        if self.bad_states > allowed:
            raise BadStateError(
                f"{self._where(bad)}. {self.bad_states} steps were truncated in {self.steps} vector steps of "
                f"{self.venv.num_envs} environments, more than {MAX_SHARE:.0%}: the environment is broken, not unlucky."
            )

    def _where(self, bad: _Bad) -> str:
        return f"Environment {bad.env}, step {self.steps}: {bad.what} (finite numbers up to {self.limit:g} are good)"


def guard(env: VecEnv, mode: str, known: BadStateGuard | None = None) -> BadStateGuard | None:
    """
    Guard the innermost ``VecEnv``, unless it is guarded already in this mode. A guard that was attached before with a
    limit of its own keeps it.

    :param env: An environment with any wrappers
    :param mode: "raise", "truncate", or "off" to take a guard away
    :param known: One that was detached, and goes on with its counts if it is of this environment
    :return: The guard; None for "off"
    """
    env = env.unwrapped
    present: BadStateGuard | None = vars(env).get(_ATTRIBUTE)
    if mode == "off":
        if present is not None:
            present.detach()
        return None
    if present is None:
        present = known if known is not None and known.venv is env else BadStateGuard(env)
        present.attach()
    present.mode = mode  # type: ignore[assignment]
    return present


def guard_within(
    context: ExitStack, env: VecEnv, mode: str, known: BadStateGuard | None = None
) -> BadStateGuard | None:
    """As :func:`guard`, until the context ends; what was there before comes back then."""
    present: BadStateGuard | None = vars(env.unwrapped).get(_ATTRIBUTE)
    context.callback(guard, env, "off" if present is None else present.mode, present)
    return guard(env, mode, known)


def _parts(observations: Any) -> list[tuple[str, Any]]:
    if isinstance(observations, dict):
        return [(f"observation[{key!r}]", value) for key, value in observations.items()]
    return [("observation", observations)]


def _rows(observations: VecEnvObs, kept: int | slice) -> VecEnvObs:
    return each_array(lambda values: values[kept], observations)

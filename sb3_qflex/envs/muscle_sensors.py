"""What muscles feel, in every info: for controllers that act on it."""

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

#: Entries of ``info``: lengths of the actuators' paths in the model's units, and their forces.
MUSCLE_SENSORS = ("actuator_length", "actuator_force")


class MuscleSensors(gym.Wrapper, RecordConstructorArgs):
    """
    Put length and force of every actuator into the info of each step and reset, as ``info["actuator_length"]`` and
    ``info["actuator_force"]``, arrays (nu,) of float64 of their own; nothing else changes.

    In the RL Zoo: ``env_wrapper: sb3_qflex.envs.MuscleSensors``.

    :param env: An environment on a MuJoCo model (``model`` and ``data`` of ``env.unwrapped``) that has muscles or
        other actuators that pull at tendons
    :raises ValueError: If it is another one
    """

    def __init__(self, env: gym.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        _require_muscles(env)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """
        :param seed: Of the wrapped environment
        :param options: Of the wrapped environment
        :return: As the wrapped environment, with the sensors
        """
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, self._with_sensors(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """
        :param action: Of the action space
        :return: As the wrapped environment, with the sensors
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, self._with_sensors(info)

    def _with_sensors(self, info: dict[str, Any]) -> dict[str, Any]:
        # Looked up each time: some environments make their simulation anew at a reset.
        data: Any = self.env.unwrapped.data  # type: ignore[attr-defined]
        return {**info, **{name: getattr(data, name).copy() for name in MUSCLE_SENSORS}}


def _require_muscles(env: gym.Env) -> None:
    body: Any = env.unwrapped
    model: Any = getattr(body, "model", None)
    if not hasattr(model, "actuator_trntype") or not hasattr(getattr(body, "data", None), "actuator_length"):
        raise ValueError(
            f"MuscleSensors needs an environment on a MuJoCo model, with `model` and `data`, and {env} is on none: "
            "muscles are found in MyoSuite's tasks, OstrichRun-v0 and MSHuman700Walk-v0, say."
        )
    import mujoco  # the environment has loaded it

    muscles = model.actuator_dyntype == mujoco.mjtDyn.mjDYN_MUSCLE
    tendons = model.actuator_trntype == mujoco.mjtTrn.mjTRN_TENDON
    if not (muscles | tendons).any():
        raise ValueError(
            f"MuscleSensors needs muscles or other actuators that pull at tendons, and none of the {model.nu} "
            f"actuators of {env} is one: leave the wrapper out, and choose an algorithm without DEP."
        )

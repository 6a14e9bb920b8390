"""DEP as the exploration of an off-policy algorithm: it fills the first steps and interrupts the policy later."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise

from sb3_qflex.algorithm import Algorithm
from sb3_qflex.common import options
from sb3_qflex.common.bad_states import BadStateError
from sb3_qflex.common.keywords import check_keywords, without_sde
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.dep.config import DEPConfig
from sb3_qflex.dep.controller import DEPController, Readings, SensorScale
from sb3_qflex.dep.switching import Switch
from sb3_qflex.envs.muscle_sensors import MUSCLE_SENSORS

logger = logging.getLogger(__name__)


class DEPExploration:
    """
    All that DEP remembers of a training.

    :param config: Its settings
    :param n_envs: E
    :param n_motors: d
    """

    def __init__(self, config: DEPConfig, n_envs: int, n_motors: int) -> None:
        self.config = config
        self.shape = (n_envs, n_motors)
        self.scale = SensorScale(n_envs, n_motors)
        self.controller = DEPController(config, n_envs, n_motors)
        self.switch = Switch()
        # Vector steps since the last log, and those of them in which DEP acted.
        self.asked = self.acted = 0

    def restart_controller(self, config: DEPConfig) -> None:
        """
        :param config: Settings from now on; extremes of the sensors and the switch go on
        """
        self.config = config
        self.controller = DEPController(config, *self.shape)

    def action(self, initial_steps: int, episodes: int, rng: np.random.Generator) -> NDArray[np.float32] | None:
        """
        What to do in the next vector step.

        :param initial_steps: Environment steps in which DEP alone acts
        :param episodes: Finished episodes of all environments
        :param rng: Draws whether an intervention begins
        :return: In [-1, 1], shape (E, d); None where the policy acts
        """
        turn = self.switch.decide(self.config, initial_steps, self.shape[0], episodes, rng)
        self.asked += 1
        self.acted += turn.acts
        if not turn.updates:
            return None
        action = self.controller.step(self.config, self.scale.sensors(self.config.force_scale))
        return action.astype(np.float32) if turn.acts else None


class DEPExplorationMixin(Algorithm):
    """
    Mixin for algorithms on the common base, in front of one: ``class DEPSAC(DEPExplorationMixin, SAC)``.

    DEP acts in the first ``initial_steps`` environment steps and in short interventions later; its action in [-1, 1]
    goes through the same scaling to the Box as the policy's, and into the replay buffer. ``predict`` knows nothing of
    it. Sensors come from the infos that :class:`sb3_qflex.envs.MuscleSensors` fills. The state of DEP is saved with
    the model; it starts anew where the number of environments changes, but for the count of steps.

    :param arguments: Of the algorithm
    :param dep: A :class:`DEPConfig`, the name of a preset ("myo_leg", "ostrich", "human_reacher", "default"), or a
        mapping of settings in which ``"preset"`` may name what they change. Assigning another one, or loading with
        it, starts the controller anew; extremes of the sensors and the switch go on
    :param keywords: Of the algorithm
    :raises ValueError: For settings out of range
    """

    dep: DEPConfig = options.option(
        lambda _, name, value: DEPConfig.of(value), lambda model, _: model._take_dep_settings()
    )
    _dep: DEPExploration | None = None

    def __init__(self, *arguments: Any, dep: Any = "default", _init_setup_model: bool = True, **keywords: Any) -> None:
        name = type(self).__name__
        check_keywords(name, without_sde(name, keywords), type(self))
        super().__init__(*arguments, _init_setup_model=False, **keywords)
        self.dep = dep
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        super()._setup_model()
        vars(self)["dep"] = DEPConfig.of(self.dep)
        # A loaded one, where load was given other settings.
        if self._dep is not None and self._dep.config != self.dep:
            self._dep.restart_controller(self.dep)

    def _take_dep_settings(self) -> None:
        vars(self)["dep"] = DEPConfig.of(self.dep)
        if self._dep is not None:
            self._dep.restart_controller(self.dep)

    def _initial_dep_steps(self) -> int:
        return self.learning_starts if self.dep.initial_steps is None else self.dep.initial_steps

    def _setup_learn(
        self, total_timesteps: int, callback: Any = None, reset_num_timesteps: bool = True, *args: Any, **kwargs: Any
    ) -> tuple[int, Any]:
        goes_on = not reset_num_timesteps and self._last_obs is not None and self._dep is not None
        prepared = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, *args, **kwargs)
        if not goes_on:
            self._start_dep()
        return prepared

    def _start_dep(self) -> None:
        """Take in the sensors of environments that were just reset."""
        assert self.env is not None  # _setup_learn saw to it
        readings = self._readings(self.env.unwrapped.reset_infos)
        before = self._dep
        if before is None or before.shape != readings.lengths.shape:
            self._dep = DEPExploration(self.dep, *readings.lengths.shape)
            if before is not None:
                self._dep.switch = before.switch
                logger.info("DEP starts anew: it was of %s environments and muscles, not %s.",
                            before.shape, self._dep.shape)  # fmt: skip
        assert self._dep is not None
        self._dep.scale.update(*readings)

    def _readings(self, infos: Sequence[dict[str, Any]]) -> Readings:
        """Lengths and forces of the infos' muscles; an UnsupportedError where they are missing or too few or many."""
        name = type(self).__name__
        try:
            readings = Readings(*(np.array([info[key] for info in infos], np.float64) for key in MUSCLE_SENSORS))
        except KeyError as error:
            raise UnsupportedError(
                f"{name} needs {' and '.join(MUSCLE_SENSORS)} in the infos of steps and resets, and they are missing "
                f"({error.args[0]!r}): wrap each environment in sb3_qflex.envs.MuscleSensors (RL Zoo: `env_wrapper: "
                "sb3_qflex.envs.MuscleSensors`), and give a WorkerVecEnv infos='auto' or 'all'."
            ) from error
        n_motors = self.policy.action_dim
        if readings.lengths.shape[1:] != (n_motors,):
            raise UnsupportedError(
                f"{name} needs one action for each muscle: there are {readings.lengths.shape[-1]} muscles and "
                f"{n_motors} actions. Leave out wrappers that change the actions."
            )
        for key, values in zip(MUSCLE_SENSORS, readings, strict=True):
            if not np.isfinite(values).all():
                env, muscle = np.argwhere(~np.isfinite(values))[0]
                raise BadStateError(
                    f"{key}[{muscle}] of environment {env} is {values[env, muscle]}: the simulation has diverged. Mend "
                    "the environment, or end such episodes there."
                )
        return readings

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: Any,
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        assert self._dep is not None and self.env is not None
        if self._dep.switch.is_over(self.dep, self._initial_dep_steps()):
            return  # reading infos of a WorkerVecEnv has its price
        # What an environment feels that was just reset is not in the info of its last step.
        reset_infos = self.env.unwrapped.reset_infos
        felt = [reset if done else info for info, reset, done in zip(infos, reset_infos, dones, strict=True)]
        self._dep.scale.update(*self._readings(felt))
        if self.dep.reset_on_done:
            self._dep.controller.restart(np.asarray(dones, dtype=bool))

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        assert self._dep is not None
        # Of the action space, so that it is seeded and kept in checkpoints with the others.
        rng = self.action_space.np_random
        action = self._dep.action(self._initial_dep_steps(), self._episode_num, rng)
        if action is None:
            return super()._sample_action(learning_starts, action_noise, n_envs)
        action = action.reshape(n_envs, *self.action_space.shape)  # type: ignore[misc]
        return self.policy.unscale_action(action), action

    def dump_logs(self) -> None:
        """Write log data, with the share of steps in which DEP acted."""
        if self._dep is not None and self._dep.asked > 0:
            self.logger.record("rollout/dep_share", self._dep.acted / self._dep.asked)
            self._dep.asked = self._dep.acted = 0
        super().dump_logs()

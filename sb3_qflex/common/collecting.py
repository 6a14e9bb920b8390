"""How experience is collected: SB3's off-policy loop, with a late replay buffer and trained models that go on well."""

import io
import pathlib
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress
from copy import deepcopy
from typing import Any, TypeVar

import numpy as np
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise, VectorizedActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from sb3_qflex.common import replay
from sb3_qflex.common.bad_states import BadStateGuard, guard, guard_within
from sb3_qflex.common.environment_checks import check_environment
from sb3_qflex.common.replay_hindsight import HindsightReplayBuffer

SelfCollecting = TypeVar("SelfCollecting", bound="CollectingAlgorithm")


class StopTrainingError(Exception):
    """Raised by a callback in ``on_rollout_start``: ``learn`` ends there, with every step stored and learned from."""


class CollectingAlgorithm(OffPolicyAlgorithm):
    """
    Differences to SB3's class: the replay buffer is allocated when it is first asked for, by ``learn`` at the latest
    (loading for inference needs none), a trained model never falls back to random actions, and one without its buffer
    first collects ``learning_starts`` transitions with its own policy.
    """

    _replay_buffer: ReplayBuffer | None = None

    # Environment steps after which updates begin; see _schedule_updates.
    _updates_from: int
    # Open while learn() runs: what callbacks put there is undone however it ends.
    while_learning: ExitStack | None = None
    # What a resumed model still has to restore once learn() is set up, since setting up disturbs it.
    at_learning_start: Callable[[BaseCallback], None] | None = None
    # Which checkpoint the model comes from or has last left, see TrainingCheckpoint.
    checkpoint_lineage: Any = None
    # At which step of the model RepeatUntil ended the action repeat: since then discount, updates and buffer are those
    # of single steps.
    repeat_ended_at: int | None = None
    # What is done about bad numbers of the environment: "raise", "truncate" or "off".
    bad_states: str
    _bad_state_guard: BadStateGuard | None = None

    @property
    def replay_buffer(self) -> ReplayBuffer:
        """The replay buffer, empty where nothing was collected or loaded yet."""
        if self._replay_buffer is None:
            self._replay_buffer = self.make_replay_buffer()
        return self._replay_buffer

    @replay_buffer.setter
    def replay_buffer(self, buffer: ReplayBuffer | None) -> None:
        self._replay_buffer = buffer

    @replay_buffer.deleter
    def replay_buffer(self) -> None:
        self._replay_buffer = None

    @staticmethod
    def _wrap_env(env: GymEnv, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        # Before SB3's own assertions, which do not say what was given.
        check_environment(env)
        return OffPolicyAlgorithm._wrap_env(env, verbose, monitor_wrapper)

    def learn(
        self: SelfCollecting,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "run",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfCollecting:
        # SB3's loop but for the moment at which updates begin, which is not always learning_starts.
        with ExitStack() as self.while_learning:
            total_timesteps, callback = self._setup_learn(
                total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
            )
            assert isinstance(callback, BaseCallback)
            callback.on_training_start(locals(), globals())
            if self.at_learning_start is not None:
                self.at_learning_start(callback)
                self.at_learning_start = None
            with suppress(StopTrainingError):
                self._learn_until(total_timesteps, callback, log_interval)
            callback.on_training_end()
        return self

    def _learn_until(self, total_timesteps: int, callback: BaseCallback, log_interval: int) -> None:
        assert self.env is not None  # _setup_learn saw to it
        while self.num_timesteps < total_timesteps:
            # Again, since a callback may have assigned the option.
            self._bad_state_guard = guard(self.env, self.bad_states, self._bad_state_guard) or self._bad_state_guard
            rollout = self.collect_rollouts(
                self.env,
                train_freq=self.train_freq,  # type: ignore[arg-type]  # _setup_model converted it
                action_noise=self.action_noise,
                callback=callback,
                learning_starts=self._updates_from,
                replay_buffer=self.replay_buffer,
                log_interval=log_interval,
            )
            if not rollout.continue_training:
                # The step that a callback ended at is not stored: the environments are one ahead, and start anew.
                self._last_obs = None
                break
            if self.has_enough_transitions:
                gradient_steps = self.gradient_steps if self.gradient_steps >= 0 else rollout.episode_timesteps
                if gradient_steps > 0:
                    self.train(batch_size=self.batch_size, gradient_steps=gradient_steps)

    @property
    def has_enough_transitions(self) -> bool:
        """Whether there are as many in the replay buffer as updates wait for; a callback may have given it up."""
        return self.num_timesteps > self._updates_from and self.replay_buffer.size() > 0

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[int, Any]:
        if self.env is None:
            raise ValueError("Training needs an environment: pass env= to load(), or call set_env() first.")
        assert self.while_learning is not None  # open in learn()
        # Here, so that it also holds for environments that came by load or set_env, and never for evaluation.
        self._bad_state_guard = guard_within(self.while_learning, self.env, self.bad_states, self._bad_state_guard)
        if hasattr(self.env.unwrapped, "essential_infos") and not replay.may_keep_infos(self.replay_buffer):
            # Most of what environments tell is read by nobody, and takes long to come from other processes.
            self.while_learning.enter_context(self.env.unwrapped.essential_infos())
        new_buffer = self.replay_buffer.size() == 0
        goes_on = not reset_num_timesteps and self._last_obs is not None
        if isinstance(self.action_noise, VectorizedActionNoise) and self.action_noise.n_envs != self.n_envs:
            self.action_noise = self.action_noise.base_noise  # SB3 makes as many as there are environments
        action_noise = deepcopy(self.action_noise)
        if not goes_on and isinstance(self.replay_buffer, NStepReplayBuffer | HerReplayBuffer | HindsightReplayBuffer):
            # The environments are reset: neither returns nor goals reach from an episode into the next.
            replay.cut_streams(self.replay_buffer)
        prepared = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, *args, **kwargs)
        if goes_on and type(action_noise) is type(self.action_noise):
            # SB3 resets it; but the episodes go on, and so does a noise that has a state.
            self.action_noise = action_noise
        if reset_num_timesteps:
            self.at_learning_start = None
        self._schedule_updates(new_buffer, reset_num_timesteps)
        return prepared

    def make_replay_buffer(self, n_envs: int | None = None) -> ReplayBuffer:
        """
        Allocate an empty replay buffer as the model's arguments say.

        :param n_envs: Environments whose transitions it holds, if not those of the model.
        """
        return replay.make_replay_buffer(
            self.replay_buffer_class,
            self.replay_buffer_kwargs,
            self.buffer_size,
            self.observation_space,
            self.action_space,
            self.env,
            self.device,
            self.optimize_memory_usage,
            self.n_steps,
            self.gamma,
            n_envs or self.n_envs,
        )

    def _excluded_save_params(self) -> list[str]:
        own = ["while_learning", "at_learning_start", "checkpoint_lineage", "_replay_buffer", "_bad_state_guard"]
        return [*super()._excluded_save_params(), *own]

    def _schedule_updates(self, new_buffer: bool, reset_num_timesteps: bool) -> None:
        """Decide from which step on there are enough transitions to learn from."""
        trained = self._n_updates > 0
        if new_buffer:
            self._updates_from = self.num_timesteps + self.learning_starts
            if trained and self.learning_starts > 0:
                warnings.warn(
                    f"This trained model goes on without its replay buffer: it first collects {self.learning_starts} "
                    "transitions with its own policy. load_replay_buffer() before learn() avoids this.",
                    stacklevel=4,
                )
        elif reset_num_timesteps:
            self._updates_from = 0 if trained else self.learning_starts

    def forget_transitions(self) -> None:
        """Empty the replay buffer. Updates go on when ``learning_starts`` new transitions are in it."""
        replay.empty(self.replay_buffer)
        self._updates_from = self.num_timesteps + self.learning_starts

    def _move_updates(self, steps: int) -> None:
        """Let updates begin that much later, where they have to wait for ``learning_starts``."""
        if self._updates_from > 0:
            self._updates_from += steps

    def dump_logs(self) -> None:
        """Write log data, with the number of truncated bad states of the environment."""
        if self._bad_state_guard is not None and self.bad_states == "truncate":
            self.logger.record("rollout/bad_states", self._bad_state_guard.bad_states)
        super().dump_logs()

    def load_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """
        Load a replay buffer from a pickle file. One that does not fit leaves the present buffer in place.

        :param path: Path to the pickled replay buffer.
        :param truncate_last_traj: As in SB3: whether the last episode of a ``HerReplayBuffer`` counts as finished.
        :raises UnsupportedError: If it was filled by other spaces, another number of environments or other returns.
        """
        previous = self._replay_buffer
        super().load_replay_buffer(path, truncate_last_traj)
        loaded, self._replay_buffer = self.replay_buffer, previous
        replay.check_loaded_buffer(loaded, self.observation_space, self.action_space, self.n_envs)
        replay.check_loaded_returns(loaded, self.n_steps, self.gamma)
        self.replay_buffer = loaded

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        # A trained model has a policy that is better than random actions, whatever the step count says.
        random_until = 0 if self._n_updates > 0 else learning_starts
        _, scaled_action = super()._sample_action(random_until, action_noise, n_envs)
        # Noise may come in float64: what is executed is what the buffer stores.
        scaled_action = scaled_action.astype(np.float32)
        return self.policy.unscale_action(scaled_action), scaled_action

"""A training whose first part holds each action for several steps, and whose second part does not."""

from fractions import Fraction
from math import gcd
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from sb3_qflex.common.callbacks import all_callbacks, check_called_at_rollouts
from sb3_qflex.common.collecting import CollectingAlgorithm
from sb3_qflex.common.validation import UnsupportedError, check_number


class RepeatUntil(BaseCallback):
    """
    Ends the action repeat of a training, so that the policy learns to act at every step of the task.

    Held actions move further, and find what single ones do not; a policy that learned with them and is asked at every
    step is another one. After ``fraction`` of the training, in steps of the model as schedules of a learning rate count
    them, :class:`sb3_qflex.envs.ActionRepeat` holds each action for one step, in the environments of training and, if
    they have it, of evaluation. The discount is then that of a step (gamma to the power of 1/repeat), updates come as
    often as before in steps of the task, by fewer ``gradient_steps`` or a longer ``train_freq`` (``gradient_steps=-1``
    still means one for each step of the model), and the replay buffer, whose rewards are sums, is emptied: updates go
    on when ``learning_starts`` new transitions are in it, collected by the policy as it is. A model that came so far,
    saved and loaded or not, keeps to single steps however long its training goes on. In the RL Zoo::

        env_wrapper: [{sb3_qflex.envs.ActionRepeat: {repeat: 2}}]
        callback: [{sb3_qflex.RepeatUntil: {fraction: 0.5}}]

    With ``still_held`` a share of the decisions is held all the same, each by chance: what follows from either is in
    the replay buffer, so that the policy learns to act at every step and yet goes on from what it is. What is said here
    of one step is then said of the mean length of a decision. Evaluations hold none.

    :param fraction: Share of the training's steps, in (0, 1]; until then each stands for ``repeat`` steps of the task
    :param still_held: Probability with which a decision is held afterwards, in [0, 1)
    :raises ValueError: If one is not such a number
    """

    def __init__(self, fraction: float, still_held: float = 0.0) -> None:
        check_number("fraction", fraction, maximum=1.0, above=True)
        check_number("still_held", still_held, maximum=1.0)
        if still_held == 1.0:
            raise ValueError("still_held must be below 1: with every action held there is nothing to change")
        super().__init__()
        self.fraction = fraction
        self.still_held = still_held
        self._repeat = 1
        self._steps = 0.0

    def _on_training_start(self) -> None:
        model = self.model
        if not isinstance(model, CollectingAlgorithm):
            raise UnsupportedError(
                f"RepeatUntil does not fit {type(model).__name__}: it needs an off-policy algorithm of sb3_qflex."
            )
        if not self.training_env.has_attr("repeat"):
            raise UnsupportedError(
                "RepeatUntil needs environments in sb3_qflex.envs.ActionRepeat(env, repeat), and these are not."
            )
        if "gamma" in model.replay_buffer_kwargs:
            raise UnsupportedError(
                "RepeatUntil changes gamma, and replay_buffer_kwargs fixes it at "
                f"{model.replay_buffer_kwargs['gamma']}: leave it out there, and the buffer follows the model's."
            )
        check_called_at_rollouts(self, self.locals["callback"])
        self._repeat = self.training_env.get_attr("repeat")[0]
        self._steps = self.fraction * self.locals["total_timesteps"]

    def _on_rollout_start(self) -> None:
        assert isinstance(self.model, CollectingAlgorithm)
        if self._repeat > 1 and self.model.repeat_ended_at is None and self.model.num_timesteps >= self._steps:
            shorter = self._mean_length() / self._repeat
            normalization = self.model.get_vec_normalize_env()
            if normalization is not None and normalization.gamma == self.model.gamma:
                normalization.gamma **= float(shorter)
            self.model.gamma **= float(shorter)
            _update_as_often(self.model, shorter)
            self.model.forget_transitions()
            self.model.repeat_ended_at = self.model.num_timesteps
        # Also where it had ended before: another callback may have put the model's state back at the start.
        if self._repeat > 1 and self.model.repeat_ended_at is not None:
            self._end()

    def _on_step(self) -> bool:
        return True

    def _mean_length(self) -> Fraction:
        """Steps of the task in a decision afterwards, on average."""
        return 1 + Fraction(self.still_held).limit_denominator(1000) * (self._repeat - 1)

    def _end(self) -> None:
        held = (self._repeat, self.still_held) if self.still_held > 0.0 else (1,)
        self.training_env.env_method("hold", *held)
        self._repeat = 1
        for one in all_callbacks(self.locals["callback"]):
            if isinstance(one, EvalCallback) and one.eval_env.has_attr("repeat"):
                one.eval_env.env_method("hold", 1)


def _update_as_often(model: CollectingAlgorithm, share: Fraction) -> None:
    """Let a step of the model be worth a share of the updates that it was; an episode keeps its own."""
    train_freq: Any = model.train_freq  # a TrainFreq, since _setup_model converted it
    if model.gradient_steps > 0 and train_freq.unit is TrainFrequencyUnit.STEP:
        shared = gcd(model.gradient_steps, share.denominator)
        model.gradient_steps = model.gradient_steps // shared * share.numerator
        longer = train_freq.frequency * (share.denominator // shared)
        model.train_freq = TrainFreq(longer, train_freq.unit)  # type: ignore[assignment]  # SB3 converts it too

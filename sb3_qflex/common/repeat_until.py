"""A training whose first part holds each action for several steps, and whose second part does not."""

from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_qflex.common.callbacks import all_callbacks
from sb3_qflex.common.collecting import CollectingAlgorithm
from sb3_qflex.common.validation import UnsupportedError, check_number


class RepeatUntil(BaseCallback):
    """
    Ends the action repeat of a training, so that the policy learns to act at every step of the task.

    Held actions move further, and find what single ones do not; a policy that learned with them and is asked at every
    step is another one. After ``fraction`` of the training, in steps of the model as schedules of a learning rate count
    them, :class:`sb3_qflex.envs.ActionRepeat` holds each action for one step, in the environments of training and of
    evaluation. The discount is then that of a step (gamma to the power of 1/repeat), an update comes as often as before
    in steps of the task, and the replay buffer, whose rewards are sums, is emptied: updates go on when
    ``learning_starts`` new transitions are in it, collected by the policy as it is. A model that came so far, saved and
    loaded or not, keeps to single steps however long its training goes on. In the RL Zoo::

        env_wrapper: [{sb3_qflex.envs.ActionRepeat: {repeat: 2}}]
        callback: [{sb3_qflex.RepeatUntil: {fraction: 0.5}}]

    :param fraction: Share of the training's steps, in (0, 1]; until then each stands for ``repeat`` steps of the task
    :raises ValueError: If ``fraction`` is not such a number
    """

    def __init__(self, fraction: float) -> None:
        check_number("fraction", fraction, maximum=1.0, above=True)
        super().__init__()
        self.fraction = fraction
        self._repeat = 1
        self._steps = 0.0

    def _on_training_start(self) -> None:
        if not isinstance(self.model, CollectingAlgorithm):
            raise UnsupportedError(
                f"RepeatUntil does not fit {type(self.model).__name__}: it needs an off-policy algorithm of sb3_qflex."
            )
        try:
            self._repeat = self.training_env.get_attr("repeat")[0]
        except AttributeError as error:
            raise UnsupportedError(
                "RepeatUntil needs environments in sb3_qflex.envs.ActionRepeat(env, repeat), and these are not."
            ) from error
        self._steps = self.fraction * self.locals["total_timesteps"]
        if self.model.repeat_ended:
            self._hold_for_one()

    def _on_rollout_start(self) -> None:
        if self._repeat > 1 and self.model.num_timesteps >= self._steps:
            assert isinstance(self.model, CollectingAlgorithm)
            self.model.gamma **= 1 / self._repeat
            if self.model.gradient_steps > 0:  # -1 follows the steps by itself
                self.model.gradient_steps = max(1, self.model.gradient_steps // self._repeat)
            self.model.forget_transitions()
            self.model.repeat_ended = True
            self._hold_for_one()

    def _on_step(self) -> bool:
        return True

    def _hold_for_one(self) -> None:
        self._repeat = 1
        evaluations = [one for one in all_callbacks(self.locals["callback"]) if isinstance(one, EvalCallback)]
        for env in (self.training_env, *(one.eval_env for one in evaluations)):
            assert isinstance(env, VecEnv)
            env.env_method("hold", 1)

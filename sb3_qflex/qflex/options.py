"""All checks of a QFlex model's options, run when it is constructed and again when it is loaded."""

from typing import TYPE_CHECKING, Any

from stable_baselines3.common.type_aliases import TrainFreq

from sb3_qflex.common import validation
from sb3_qflex.common.replay import check_replay_buffer
from sb3_qflex.qflex.policies import QFlexPolicy

if TYPE_CHECKING:
    from sb3_qflex.qflex.qflex import QFlex

# Arguments of the policy that QFlex passes itself.
_OWN_POLICY_ARGUMENTS = (
    "observation_space",
    "action_space",
    "lr_schedule",
    "flow_steps",
    "guidance_steps",
    "guidance_step_size",
    "preconditioner",
    "exploration",
)


def check_options(model: "QFlex") -> None:
    """
    :param model: A model whose attributes are set and whose networks are not built yet.
    :raises ValueError: For values out of range and combinations that are not supported.
    :raises TypeError: For unknown names in ``policy_kwargs``.
    """
    validation.check_spaces(model.observation_space, model.action_space)
    validation.warn_about_box(model.action_space)  # type: ignore[arg-type]
    _check_training(model)
    validation.check_ent_coef(model.ent_coef, model.target_entropy)
    validation.check_flow(model.flow_steps, model.guidance_steps, model.guidance_step_size, model.exploration)
    validation.check_choice("bootstrap", model.bootstrap, validation.BOOTSTRAPS)
    if model.divergence_factor is not None:
        validation.check_number("divergence_factor", model.divergence_factor, minimum=1.0)
    validation.check_choice("bad_states", model.bad_states, validation.BAD_STATES)
    _check_policy_kwargs(model)
    check_replay_buffer(
        model.replay_buffer_class,
        model.replay_buffer_kwargs,
        model.observation_space,
        model.optimize_memory_usage,
        model.n_steps,
        model.gamma,
    )


def _check_training(model: "QFlex") -> None:
    if not callable(model.learning_rate):
        validation.check_number("learning_rate", model.learning_rate)
    validation.check_count("buffer_size", model.buffer_size)
    validation.check_count("learning_starts", model.learning_starts, minimum=0)
    validation.check_number("gamma", model.gamma, maximum=1.0)
    validation.check_count("gradient_steps", model.gradient_steps, minimum=-1)
    validation.check_count("policy_delay", model.policy_delay)
    has_batch_norm = model.policy_kwargs.get("batch_norm", True)
    validation.check_count("batch_size", model.batch_size, minimum=2 if has_batch_norm else 1)
    _check_train_freq(model.train_freq, model.n_envs if model.env is not None else 1)


def _check_train_freq(train_freq: Any, n_envs: int) -> None:
    if isinstance(train_freq, TrainFreq):
        frequency, unit = train_freq.frequency, train_freq.unit.value
    elif isinstance(train_freq, tuple):
        if len(train_freq) != 2:
            raise ValueError(f'train_freq must be an integer or a pair such as (5, "step"), not {train_freq!r}.')
        frequency, unit = train_freq
    else:
        frequency, unit = train_freq, "step"
    validation.check_count("train_freq", frequency)
    validation.check_choice("unit of train_freq", getattr(unit, "value", unit), ("step", "episode"))
    if unit == "episode" and n_envs > 1:
        raise ValueError(
            f"train_freq in episodes works with one environment, not {n_envs}: their episodes end at different steps. "
            'Use (frequency, "step").'
        )


def _check_policy_kwargs(model: "QFlex") -> None:
    if not (isinstance(model.policy_class, type) and issubclass(model.policy_class, QFlexPolicy)):
        raise ValueError(
            f"policy must be 'MlpPolicy', 'MultiInputPolicy' or a subclass of QFlexPolicy, not {model.policy_class!r}."
        )
    given = model.policy_kwargs
    for name in _OWN_POLICY_ARGUMENTS:
        if name in given:
            raise ValueError(f"Pass {name} to QFlex itself, not in policy_kwargs.")
    # A user's own subclass may take any names.
    if model.policy_class.__init__ is QFlexPolicy.__init__:
        validation.check_keywords("policy_kwargs", given, QFlexPolicy.__init__, but=_OWN_POLICY_ARGUMENTS)

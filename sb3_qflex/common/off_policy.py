"""What every off-policy algorithm here has: checked options, guarded updates, its log, and files written atomically."""

import io
import pathlib
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, PyTorchObs, ReplayBufferSamples, Schedule

from sb3_qflex.common import options, replay, validation
from sb3_qflex.common.collecting import CollectingAlgorithm
from sb3_qflex.common.fast import products
from sb3_qflex.common.guard import LearnerGuard, QBound
from sb3_qflex.common.keywords import check_keywords, without_sde
from sb3_qflex.common.loading import arguments_for_file, plain_attributes
from sb3_qflex.common.model_file import opened_model
from sb3_qflex.common.persistence import write_atomically
from sb3_qflex.common.policies import Policy
from sb3_qflex.common.training_log import TrainingLog
from sb3_qflex.common.validation import check_count, check_number
from sb3_qflex.common.versions import describe_versions

SelfOffPolicy = TypeVar("SelfOffPolicy", bound="OffPolicyBase")

# Arguments of a policy that the algorithm passes itself.
_OWN_POLICY_ARGUMENTS = ("observation_space", "action_space", "lr_schedule")


class OffPolicyBase(CollectingAlgorithm):
    """
    Differences to SB3's class, beside those of :class:`CollectingAlgorithm`: options are checked at construction, at
    load and at each assignment, and act from then on; an update whose loss is not finite changes nothing, and one that
    diverges stops; a file is replaced only by a complete one, and says which versions wrote it.

    A subclass supplies what :class:`sb3_qflex.algorithm.Algorithm` lists.

    :param policy: Name in ``policy_aliases``, or a class
    :param env: The environment to learn from
    :param bad_states: See :class:`sb3_qflex.QFlex`
    :param divergence_factor: See :class:`sb3_qflex.QFlex`
    :param arguments: Of SB3's ``OffPolicyAlgorithm``
    """

    #: What ``policy`` has to be a subclass of.
    policy_base: ClassVar[type[Any]] = Policy
    #: Optimizers, each in a network of the policy, which is an attribute of the model too. They lie in saved files.
    optimizers: ClassVar[tuple[str, ...]] = ("actor.optimizer", "critic.optimizer")
    #: The policy's slow copies of networks, attributes of the model too.
    target_networks: ClassVar[tuple[str, ...]] = ()
    #: For algorithms with an option ``preset``: by their names, values of all arguments that a preset decides.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    #: Arguments that say what networks a saved file has, so that ``load`` refuses them.
    of_file: ClassVar[tuple[str, ...]] = ()
    policy: Any

    learning_rate: float | Schedule = options.option(
        lambda _, name, value: None if callable(value) else check_number(name, value),
        lambda model, _: model._setup_lr_schedule(),
    )
    learning_starts: int = options.count(
        minimum=0, changed=lambda model, previous: model._move_updates(model.learning_starts - previous)
    )
    batch_size: int = options.option(lambda model, name, value: check_count(name, value, model.smallest_batch()))
    gamma: float = options.option(
        lambda model, _, value: model._check_returns(gamma=value),
        lambda model, _: replay.assign_return(model._replay_buffer, "gamma", model.gamma),
    )
    n_steps: int = options.option(
        lambda model, _, value: model._check_returns(n_steps=value),
        lambda model, _: replay.assign_return(model._replay_buffer, "n_steps", model.n_steps),
    )
    train_freq: Any = options.option(
        lambda model, _, value: validation.check_train_freq(value, model.n_envs if model.env is not None else 1),
        lambda model, _: model._convert_train_freq(),
    )
    gradient_steps: int = options.count(minimum=-1)
    divergence_factor: float | None = options.number(minimum=1.0, optional=True)
    bad_states: str = options.choice(validation.BAD_STATES)
    buffer_size: int = options.option(lambda model, name, value: model._check_buffer(name, value))
    replay_buffer_class: Any = options.option(lambda model, name, _: model._check_buffer(name))
    replay_buffer_kwargs: dict[str, Any] = options.option(lambda model, name, _: model._check_buffer(name))
    optimize_memory_usage: bool = options.option(lambda model, name, _: model._check_buffer(name))

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        *,
        bad_states: str = "raise",
        divergence_factor: float | None = 100.0,
        policy_kwargs: dict[str, Any] | None = None,
        **arguments: Any,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            policy_kwargs=without_sde("policy_kwargs", policy_kwargs or {}),
            support_multi_env=True,
            sde_support=False,
            **arguments,
        )
        self.bad_states = bad_states
        self.divergence_factor = divergence_factor
        self._updates_from = self.learning_starts
        self._guard = LearnerGuard()
        self._q_bound = QBound()
        self._training_log = TrainingLog()

    # --- What a subclass supplies or changes ---

    def gradient_step(self, batch: ReplayBufferSamples) -> None:
        """
        One update: batch -> target -> path sample -> loss -> :meth:`minimise`.

        :param batch: Transitions.
        """
        raise NotImplementedError

    def smallest_batch(self) -> int:
        """Fewest transitions that an update can do with."""
        return 1

    def diagnostics(self, observations: PyTorchObs) -> dict[str, float]:
        """
        Values for the log that only a dump computes, in eval mode and without touching the state of training.

        :param observations: Of the last batch.
        """
        return {}

    # --- Construction ---

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        validation.check_policy_name(policy_name, self.policy_aliases)
        return super()._get_policy_from_name(policy_name)

    def _setup_model(self) -> None:
        # Also reached by load, which bypasses __init__. The replay buffer comes when it is asked for.
        validation.check_spaces(self.observation_space, self.action_space)
        validation.warn_about_box(self.action_space)  # type: ignore[arg-type]
        options.check_options(self)
        replay.check_goals(self.replay_buffer_class, self.replay_buffer_kwargs, self.env)
        given = {name: getattr(self, name) for name in self.policy_options()}
        self._check_policy(given)
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.policy = self.policy_class(
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs, **given
        ).to(self.device)
        self._convert_train_freq()
        self._create_aliases()

    def _create_aliases(self) -> None:
        """Networks of the policy as attributes of the model, as SB3's algorithms have them."""
        for name in self._networks():
            setattr(self, name, getattr(self.policy, name))

    @classmethod
    def _networks(cls) -> list[str]:
        return list(dict.fromkeys([*(name.partition(".")[0] for name in cls.optimizers), *cls.target_networks]))

    @classmethod
    def policy_options(cls) -> list[str]:
        """Options of the algorithm that live in the policy."""
        return list(options.options_of(cls, options.PolicyOption))

    def _check_policy(self, own: Iterable[str]) -> None:
        own, base = (*_OWN_POLICY_ARGUMENTS, *own), self.policy_base
        if not (isinstance(self.policy_class, type) and issubclass(self.policy_class, base)):
            names = ", ".join(map(repr, self.policy_aliases))
            raise ValueError(f"policy must be {names} or a subclass of {base.__name__}, not {self.policy_class!r}.")
        for name in own:
            if name in self.policy_kwargs:
                raise ValueError(f"Pass {name} to {type(self).__name__} itself, not in policy_kwargs.")
        check_keywords("policy_kwargs", self.policy_kwargs, self.policy_class, but=own)

    def _check_returns(self, n_steps: int | None = None, gamma: float | None = None) -> None:
        n_steps, gamma = self.n_steps if n_steps is None else n_steps, self.gamma if gamma is None else gamma
        check_count("n_steps", n_steps)
        check_number("gamma", gamma, maximum=1.0)
        replay.check_replay_buffer(
            self.replay_buffer_class,
            self.replay_buffer_kwargs,
            self.observation_space,
            self.optimize_memory_usage,
            n_steps,
            gamma,
        )
        if self._replay_buffer is not None:
            replay.check_returns(self._replay_buffer, n_steps)

    def _check_buffer(self, name: str, size: Any = 1) -> None:
        check_count(name, size)
        if self._replay_buffer is not None:
            raise ValueError(
                f"{name} cannot change while the model has a replay buffer. `del model.replay_buffer` first, which "
                "gives its transitions up, or make a new model."
            )

    # --- Updates ---

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """
        Sample the replay buffer and update the networks.

        :param gradient_steps: Number of batches, at least 1.
        :param batch_size: Transitions in each.
        :raises ValueError: At the end, if an observation, action, reward, loss or gradient was not finite (it changed
            no parameter), or if Q has diverged.
        """
        buffer = self.replay_buffer
        replay.follow_returns(buffer, self.n_steps, self.gamma)
        # Each objective puts the one network that it trains in train mode, and back.
        self.policy.set_training_mode(False)
        self._update_learning_rate(self._optimizers())
        for _ in range(gradient_steps):
            self._n_updates += 1
            batch = buffer.sample(batch_size, env=self._vec_normalize_env)
            self._check_batch(batch)
            # One step each: a subclass may edit weights behind it.
            with self.policy.edited_by_optimizers_alone():
                self.gradient_step(batch)
            self._training_log.last_observations = batch.observations
        self._guard.raise_if_any(self.num_timesteps)
        self._record(self._training_log.means.values())

    def minimise(
        self,
        optimizer: th.optim.Optimizer,
        loss: th.Tensor,
        name: str,
        max_grad_norm: float | None = None,
        n_steps: int = 1,
    ) -> None:
        """
        A step of an optimizer, left out and reported where loss or gradient are not finite; the loss is logged.

        :param optimizer: Its parameters are the only ones to which the loss is differentiated.
        :param loss: A scalar.
        :param name: What the loss is of, for the log and for messages.
        :param max_grad_norm: Norm that the gradient is clipped to; None for none.
        :param n_steps: Steps on that one gradient.
        """
        self._guard.step(optimizer, loss, name, self._n_updates, max_grad_norm, n_steps)
        self._training_log.means.add(f"{name}_loss", loss)

    def is_due(self, every: int) -> bool:
        """
        Whether this update is one of those, counted from the first on.

        :param every: Gradient steps from one of them to the next.
        """
        return (self._n_updates - 1) % every == 0

    def check_divergence(self, q_value: th.Tensor, rewards: th.Tensor, ent_coef: th.Tensor | None = None) -> None:
        """
        Remember whether Q is within what rewards can add up to, see ``divergence_factor``.

        :param q_value: Mean of Q over a batch (its sign does not matter), a scalar.
        :param rewards: Of that batch.
        :param ent_coef: alpha; None without an entropy term.
        """
        if self.divergence_factor is not None and self.gamma < 1.0:
            action_dim = self.policy.action_dim
            limit = self._q_bound.limit(q_value, rewards, ent_coef, self.divergence_factor, self.gamma, action_dim)
            self._guard.check_bound(q_value, limit, self._n_updates)

    def _optimizers(self) -> list[th.optim.Optimizer]:
        return [attrgetter(name)(self) for name in self.optimizers]

    def _check_batch(self, batch: ReplayBufferSamples) -> None:
        for name in ("observations", "next_observations", "actions", "rewards"):
            self._guard.check(name, getattr(batch, name), self._n_updates)

    # --- Logging ---

    def learn(
        self: SelfOffPolicy,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfOffPolicy:
        name = tb_log_name or type(self).__name__
        return super().learn(total_timesteps, callback, log_interval, name, reset_num_timesteps, progress_bar)

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, Any]:
        prepared = super()._setup_learn(*args, **kwargs)
        self._training_log.start(self._n_updates, self.num_timesteps)
        return prepared

    def dump_logs(self) -> None:
        """Write log data; the diagnostics are computed here, on the last batch."""
        self._record(
            self._training_log.values(self.diagnostics, self.policy.pop_counts, self._n_updates, self.num_timesteps)
        )
        super().dump_logs()

    def _record(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.logger.record(f"train/{name}", value)
        if self._n_updates > 0:
            self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    # --- Saving ---

    def training_state(self) -> dict[str, Any]:
        """What training goes on from beside the files of ``save`` and the replay buffer: the state of the log."""
        return {
            "log": self._training_log.state(),
            "counts": self.policy.counts(),
            "products": products.known(),
        }

    def restore_training_state(self, state: dict[str, Any]) -> None:
        """
        :param state: What :meth:`training_state` gave; tensors on the device of the model.
        """
        self._training_log.restore(state["log"])
        self.policy.restore_counts(state["counts"])
        products.restore(state["products"])

    def save(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """
        Save all the attributes of the object and the model parameters in a zip-file, atomically.

        :param path: path to the file where the rl agent should be saved
        :param exclude: name of parameters that should be excluded in addition to the default ones
        :param include: name of parameters that might be excluded but should be included anyway
        """
        self.saved_versions = describe_versions()
        # The policy has them; its own attributes may have been assigned.
        vars(self).update({name: getattr(self, name) for name in self.policy_options()})
        if isinstance(path, (str, pathlib.Path)):
            # The archive takes shape in memory: a seekable file of its own would not outlive a crash in between.
            archive = io.BytesIO()
            super().save(archive, exclude, include)
            write_atomically(path, archive.getbuffer(), "zip")
        else:
            super().save(path, exclude, include)

    @classmethod
    def load(cls: type[SelfOffPolicy], path: Any, env: GymEnv | None = None, device: th.device | str = "auto",
             custom_objects: dict[str, Any] | None = None, print_system_info: bool = False, force_reset: bool = True,
             **kwargs: Any) -> SelfOffPolicy:  # fmt: skip
        """
        Load the model from a zip-file, see ``BaseAlgorithm.load``.

        :param kwargs: arguments of the constructor to change, such as ``flow_steps``; ``preset`` stands for all that it
            decides, but for what is given beside it
        :raises ValueError: for a bad value, and for an argument that says what networks lie in the file
        :raises TypeError: for a name that is none of them
        :raises BrokenFileError: a ValueError, if the file is damaged or is no model of this algorithm
        """
        kwargs = without_sde(f"{cls.__name__}.load", kwargs)
        check_keywords(f"{cls.__name__}.load", kwargs, cls, but=("policy", "_init_setup_model"))
        with opened_model(path, cls.__name__, cls.file_parts()) as file:
            kwargs = arguments_for_file(
                cls.__name__, kwargs, plain_attributes(file), cls.of_file, options.options_of(cls)
            )
            if "preset" in kwargs:
                # None of them is open in a file, so that the preset alone would change nothing.
                kwargs = {**options.of_preset(cls.presets, kwargs["preset"]), **kwargs}
            return super().load(file, env, device, custom_objects, print_system_info, force_reset, **kwargs)

    @classmethod
    def file_parts(cls) -> tuple[str, ...]:
        """States that each saved file has beside the policy's, by which :meth:`load` knows the algorithm's files."""
        return cls.optimizers

    def _excluded_save_params(self) -> list[str]:
        own = ["_guard", "_training_log", "_q_bound", options.IN_USE]
        return [*super()._excluded_save_params(), *own, *self._networks()]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", *self.optimizers], []

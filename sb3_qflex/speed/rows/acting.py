"""Acting: the policy function and ``predict`` against CrossQ's and SAC's."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy

from sb3_qflex.common.fast.products import bound
from sb3_qflex.qflex.policies import QFlexPolicy
from sb3_qflex.speed import workloads
from sb3_qflex.speed.flops import Problem
from sb3_qflex.speed.measurement import Section
from sb3_qflex.speed.settings import Settings
from sb3_qflex.speed.timing import Task, ratio

_TEXT = """\
Stochastic actions for n observations. *policy* is the policy function, tensor in and tensor out; *predict* takes and
returns numpy arrays. *bare products* are the matrix products of K = 20 alone, one after the other. *after an update* is
the policy function when networks have to be folded anew, as at the first action after each update. *added by predict*
is the difference of QFlex's predict and policy function, which should not exceed SAC's predict."""

_FLOW_STEPS = (20, 10)


def measure_acting(settings: Settings) -> Section:
    """:param settings: Sizes and durations."""
    section = Section("acting", "Acting", _TEXT)
    for problem in settings.sizes:
        buffer = workloads.filled_buffer(problem, device=settings.device)
        models: dict[str, OffPolicyAlgorithm] = {
            f"K = {k}": workloads.qflex(problem, buffer, flow_steps=k, guidance_steps=1) for k in _FLOW_STEPS
        }
        models["CrossQ"] = workloads.crossq(problem, buffer)
        models["SAC"] = workloads.sac(problem, buffer)
        for n_envs in settings.acting_n_envs:
            seconds = settings.time(_tasks(problem, models, n_envs, settings.device))
            _report(section, f"{workloads.label(problem)}, n = {n_envs}", seconds)
    return section


def _tasks(problem: Problem, models: Mapping[str, OffPolicyAlgorithm], n_envs: int, device: str) -> list[Task]:
    obs = np.random.default_rng(0).standard_normal((n_envs, problem.obs_dim), dtype=np.float32)
    tensor = th.as_tensor(obs, device=device)
    tasks = [Task("bare products", bare_products(problem, n_envs, max(_FLOW_STEPS), device))]
    for name, model in models.items():
        model.policy.set_training_mode(False)
        tasks.append(Task(f"{name}, policy", policy_function(model.policy, tensor)))
        tasks.append(Task(f"{name}, predict", partial(model.predict, obs)))
    policy = models[f"K = {max(_FLOW_STEPS)}"].policy
    assert isinstance(policy, QFlexPolicy)

    touch = one_after_another([partial(workloads.touch, policy.actor), partial(workloads.touch, policy.field)])
    return [*tasks, Task("K = 20, after an update", policy_function(policy, tensor), touch)]


def policy_function(policy: BasePolicy, obs: th.Tensor, deterministic: bool = False) -> Callable[[], object]:
    """Acts without gradients, tensor in and tensor out."""
    return th.no_grad()(partial(policy._predict, obs, deterministic=deterministic))


def bare_products(problem: Problem, n_envs: int, flow_steps: int, device: str = "cpu") -> Callable[[], object]:
    """Makes the matrix products of acting: source policy, the field's observation half, and K times its remainder."""
    obs_dim, action_dim, hidden = problem.obs_dim, problem.action_dim, problem.hidden
    source = product_chain((obs_dim, *hidden, 2 * action_dim), n_envs, device)
    observation_half = product_chain((obs_dim, hidden[0]), n_envs, device)
    step = product_chain((action_dim, *hidden, action_dim), n_envs, device)
    return one_after_another([*source, *observation_half, *flow_steps * step])


def one_after_another(functions: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """Calls functions in their order."""

    def call() -> None:
        for function in functions:
            function()

    return call


def product_chain(widths: tuple[int, ...], rows: int, device: str = "cpu") -> list[Callable[[], object]]:
    """
    One network's matrix products by the fastest route, one a layer to be called; weights stored as ``nn.Linear`` does,
    and matrix times vector for a single row.

    :param widths: Of input, hidden layers and output.
    :param rows: B.
    :param device: Where.
    """
    values = [th.rand(rows, width, device=device) for width in widths]
    weights = [th.rand(outputs, inputs, device=device) for inputs, outputs in pairwise(widths)]
    if rows == 1:
        return [partial(th.mv, w, x[0], out=y[0]) for w, (x, y) in zip(weights, pairwise(values), strict=True)]
    return [partial(bound(w, None, rows), x) for w, x in zip(weights, values, strict=False)]


def _report(section: Section, case: str, seconds: Mapping[str, np.ndarray]) -> None:
    for name, values in seconds.items():
        section.add(case, name, 1e3 * values, "ms")
    section.add(case, "policy, K = 20 / CrossQ", ratio(seconds, "K = 20, policy", "CrossQ, policy"))
    section.add(case, "predict, K = 20 / CrossQ", ratio(seconds, "K = 20, predict", "CrossQ, predict"))
    section.add(case, "predict, K = 20 / SAC", ratio(seconds, "K = 20, predict", "SAC, predict"))
    section.add(case, "added by predict", 1e3 * (seconds["K = 20, predict"] - seconds["K = 20, policy"]), "ms")

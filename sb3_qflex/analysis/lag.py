"""How far the velocity field is behind its critics: steps 3 and 4 go on while critics and source policy rest.

In training the targets of the field move with every update of the critics. If the flow gains more Q once they rest, the
field was behind them; what it does not gain even then is out of its reach.
"""

import argparse
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import pandas as pd
import torch as th
from matplotlib.figure import Figure
from stable_baselines3.common.type_aliases import PyTorchObs

from sb3_qflex.analysis.result import Result
from sb3_qflex.analysis.states import select, states_of
from sb3_qflex.analysis.trained import Trained, load_all
from sb3_qflex.qflex.metrics import flow_diagnostics
from sb3_qflex.qflex.objectives import field_objective
from sb3_qflex.qflex.policies import QFlexPolicy
from sb3_qflex.qflex.qflex import QFlex

TARGETS = "guided targets"
#: Share of the visited states that the field does not learn from, and that the table is about.
HELD_OUT = 0.2


def what_is_gained(policy: QFlexPolicy, obs: PyTorchObs, exploration: str, seed: int) -> dict[str, float]:
    """
    Share of states with a gain of min Q, the mean gain, and the distance from a(0), of clamped actions that the policy
    takes from now on: of its "flow", or the guided targets themselves by "ascent".
    """
    policy.exploration = exploration
    with th.random.fork_rng(devices=[]):
        th.manual_seed(seed)
        found = flow_diagnostics(policy, obs)
    return {
        "superiority": found["flow_superiority"],
        "gain of min Q": found["q_flow"] - found["q_source"],
        "mean distance from a(0)": found["flow_displacement"],
    }


def catch_up(
    policy: QFlexPolicy, obs: PyTorchObs, updates: Sequence[int], batch_size: int = 256, seed: int = 0
) -> pd.DataFrame:
    """
    Train the field of a copy alone, with its own optimizer, and look at states that it does not learn from. The random
    state is left as it was.

    :param policy: of a model whose field was trained
    :param obs: states, (S, ...): the first (1 - :data:`HELD_OUT`) S to learn from, the others to look at
    :param updates: of the field, at which to look
    :param batch_size: of one update
    :param seed: of batches, source samples and flow times
    :return: by number of updates, and for the guided targets (``updates`` is NaN): see :func:`what_is_gained`
    """
    n_states = len(next(iter(obs.values())) if isinstance(obs, dict) else obs)
    n_learning = int((1 - HELD_OUT) * n_states)
    held_out = select(obs, np.arange(n_learning, n_states))
    draws = np.random.default_rng(seed)
    policy, rows = deepcopy(policy), []
    optimizer = policy.field.optimizer
    # Before the updates, which go on with the preconditioner.
    targets = {"case": TARGETS, **what_is_gained(policy, held_out, "ascent", seed)}
    with th.random.fork_rng(devices=[]):
        th.manual_seed(seed)
        for update in range(max(updates) + 1):
            if update > 0:
                loss = field_objective(policy, select(obs, draws.integers(n_learning, size=batch_size)))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if update in updates:
                gained = what_is_gained(policy, held_out, "flow", seed)
                rows.append({"case": f"{update} updates", "updates": update, **gained})
    return pd.DataFrame([*rows, targets])


def draw(table: pd.DataFrame) -> Figure:
    """Superiority and gain over updates, of tables from :func:`catch_up` with a column ``model``."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, column in zip(panels, ("superiority", "gain of min Q"), strict=True):
        for name, rows in table.groupby("model", sort=False):
            field, targets = rows[rows["case"] != TARGETS], rows[rows["case"] == TARGETS]
            (line,) = axes.plot(field["updates"], field[column], "o-", label=str(name))
            axes.axhline(targets[column].item(), color=line.get_color(), linestyle="--", linewidth=0.8)
        looks = sorted(table["updates"].dropna().unique())
        axes.set_xscale("symlog", linthresh=10)
        axes.set_xlim(left=-1)
        axes.set_xticks(looks, [f"{look:.0f}" for look in looks])
        axes.set_xticks([], minor=True)
        axes.set(title=f"Flow: {column}", xlabel="updates of the field, critics at rest (dashed: guided targets)")
    panels[0].axhline(0.5, color="0.5", linewidth=0.8)
    panels[0].set_ylim(0, 1)
    panels[1].legend(fontsize=8)
    return figure


def _of(trained: Trained, args: argparse.Namespace, updates: list[int]) -> pd.DataFrame:
    policy = trained.flow_policy
    assert isinstance(trained.model, QFlex)
    obs = states_of(trained, args.states, args.seed, args.n_envs)
    table = catch_up(policy, obs, updates, trained.model.batch_size, args.seed)
    table.insert(0, "model", trained.label)
    return table


def run(args: argparse.Namespace) -> Result:
    """
    Carry out the command.

    :raises ValueError: for a negative number of updates, or too few states to hold any out
    """
    updates = sorted({0, *args.updates})
    if updates[0] < 0:
        raise ValueError(f"updates are at least 0, got {args.updates}")
    if args.states < 1 / HELD_OUT:
        raise ValueError(
            f"--states is at least {1 / HELD_OUT:.0f}, since {HELD_OUT:.0%} are held out; got {args.states}"
        )
    models = load_all(args.models, args.env, args.algo)
    table = pd.concat([_of(trained, args, updates) for trained in models], ignore_index=True)
    text = (
        f"Steps 3 and 4 of the update alone, on {args.states} states that the model visits; critics and source policy "
        "rest. Min Q of clamped actions against that of their source samples, at the "
        f"{HELD_OUT:.0%} of the states that the field does not learn from. *Guided targets*: the ends of the N "
        "guidance steps, which a perfect field would reach. The states are those of the present policy, a part of what "
        "a replay buffer holds: some of a gain can come from that. Nothing here says what a field without a lag is "
        'worth for learning; training with `exploration="ascent"`, which has none, does.'
    )
    return Result("The field behind its critics", text, table.drop(columns="updates"), draw(table))

"""Figures that the files of a run cannot give: what its trained policy does now, from :mod:`sb3_qflex.analysis`."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from sb3_qflex.analysis import correlation, energy
from sb3_qflex.analysis.actuators import actuator_names, groups
from sb3_qflex.analysis.states import visited_states
from sb3_qflex.analysis.trained import Trained, load
from sb3_qflex.run_report.figures import Picture, to_data_uri
from sb3_qflex.speed.report import format_number

#: Samples at each state, for the correlation of their deviations.
SAMPLES = 64


@dataclass(frozen=True)
class OfModel:
    """
    What a trained policy does.

    :param model: file name of the model
    :param pictures: figures
    :param tiles: its numbers by name, as text, and what they are of
    """

    model: str
    pictures: tuple[Picture, ...]
    tiles: dict[str, tuple[str, str]]


def look_at(model: Path, episodes: int, states: int, seed: int) -> OfModel:
    """
    Play episodes with a model, and compute how its exploration noise hangs together.

    :param model: a model in its run folder
    :param episodes: for the energy, at least 1
    :param states: that it visits, for the correlation; at least 1
    :param seed: of environment and actions
    :return: figures and numbers
    :raises ModelError: if the model cannot be loaded
    """
    trained = load(model)
    noise = _correlation(trained, states, seed)
    played, meaning = energy.energy_episodes([trained], episodes, seed, n_envs=1)
    summary = energy.summarise(played).iloc[0]
    names = ("mean return", "std of return", "mean energy", "mean energy per step")
    tiles = {name.capitalize(): (format_number(float(summary[name])), "") for name in names}
    return OfModel(model.name, (noise, _energy(played, meaning)), tiles)


def _correlation(trained: Trained, states: int, seed: int) -> Picture:
    with closing(trained.task.make(seed=seed)) as env:
        visited = visited_states(trained.model.policy, env, states, seed)
        found = correlation.correlations(trained.model, visited, SAMPLES, seed)
        labels = groups(actuator_names(env), len(found[correlation.EXECUTED]))
    caption = (
        "Correlation across actuators of what the policy tries out: deviations of actions from their mean over "
        f"{SAMPLES} samples, at {states} states that it visits. Shuffled has each actuator's samples in an order of "
        "its own: what its matrix shows is the sampling error."
    )
    return Picture("Correlation of the exploration noise", caption, to_data_uri(correlation.draw(found, labels)), True)


def _energy(played: pd.DataFrame, meaning: str) -> Picture:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(played["return"], played[energy.ENERGY], "o", alpha=0.7)
    axes.set(title="Energy", xlabel="Episode return", ylabel="Energy of the episode", ylim=(0, None))
    axes.grid(alpha=0.25)
    caption = f"Energy is the {meaning}, in each of {len(played)} deterministic episodes."
    return Picture("Energy", caption, to_data_uri(figure))

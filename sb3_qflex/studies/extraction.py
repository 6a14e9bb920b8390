"""From the folders of finished runs to three small CSV files, all that a report needs."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from stable_baselines3.common.monitor import load_results

from sb3_qflex.studies.run_checkpoint import monitors_before
from sb3_qflex.studies.run_folder import RunFolder

RUNS, EVALUATIONS, TRAINING, SETTINGS = "runs.csv", "evaluations.csv", "training.csv", "settings.json"
#: Parts of the budget over which training returns are averaged.
BINS = 50
#: Of SB3's monitor files.
_HEADER_LINES = 2


def extract(runs: Sequence[RunFolder]) -> dict[str, bytes]:
    """
    :param runs: finished runs
    :return: contents by file name; the same runs give the same bytes
    """
    runs = sorted(runs, key=lambda run: (run.plan.task, run.plan.label, run.plan.seed))
    records = [(run, record) for run in runs if (record := run.done()) is not None]
    return {
        RUNS: to_csv([_facts(run, record) for run, record in records]),
        EVALUATIONS: _together([_evaluations(run, record) for run, record in records]),
        TRAINING: _together([_training(run, record) for run, record in records]),
        SETTINGS: _settings(records),
    }


def _together(tables: Sequence[pd.DataFrame]) -> bytes:
    return to_csv(pd.concat(tables)) if tables else b""


def _identity(run: RunFolder) -> dict[str, Any]:
    return {"task": run.plan.task, "label": run.plan.label, "seed": run.plan.seed}


def _facts(run: RunFolder, record: dict[str, Any]) -> dict[str, Any]:
    git, machine = record["git"] or {}, record["machine"]
    return {
        **_identity(run),
        "algo": run.plan.algo,
        "budget": run.plan.budget,
        **{key: record[key] for key in ("steps", "environments", "updates")},
        "process seconds": record["seconds"],
        "training seconds": record["training seconds"],
        "cpu seconds": record.get("cpu seconds", math.nan),
        **{f"{part} seconds": seconds for part, seconds in record["time split"].items()},
        "starts": len(record["begun"]),
        "finished": record["finished"],
        "revision": git.get("revision", ""),
        "dirty": git.get("dirty", ""),
        "runs at a time": record["runner"]["jobs"],
        **{key: machine[key] for key in ("processor", "cores", "memory", "system")},
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
    }


def _evaluations(run: RunFolder, record: dict[str, Any]) -> pd.DataFrame:
    with np.load(run.path / record["zoo folder"] / "evaluations.npz") as file:
        found = dict(file)
    notes = pd.DataFrame(record["evaluations"])
    return pd.DataFrame(
        {
            **_identity(run),
            "steps": found["timesteps"] * run.plan.action_repeat,
            # Time of training alone: how often one looks is no property of the algorithm.
            "training seconds": notes["seconds"] - notes["evaluation seconds"],
            "episodes": found["results"].shape[1],
            "return mean": found["results"].mean(axis=1),
            "return std": found["results"].std(axis=1),
            "length mean": found["ep_lengths"].mean(axis=1),
            "success rate": found["successes"].mean(axis=1) if "successes" in found else math.nan,
        }
    )


def _training(run: RunFolder, record: dict[str, Any]) -> pd.DataFrame:
    """Means over the episodes that ended in each part of the budget."""
    folder = run.path / record["zoo folder"]
    episodes = load_results(str(folder))
    cuts = {
        steps: _episodes_in(monitors_before(folder, steps // run.plan.action_repeat))
        for steps in record.get("episodes cut at", [])
    }
    edges = np.linspace(0, run.plan.budget, BINS + 1)
    # The last vector step may pass the budget.
    part = np.clip(np.searchsorted(edges, steps_at_ends(episodes["l"].to_numpy(), cuts), side="left"), 1, BINS)
    parts = episodes.groupby(part)
    return pd.DataFrame(
        {
            **_identity(run),
            "steps": edges[np.unique(part)],
            "episodes": parts.size(),
            "return mean": parts["r"].mean(),
            "return std": parts["r"].std(ddof=0),
            "length mean": parts["l"].mean(),
        }
    )


def steps_at_ends(lengths: NDArray[np.int64], cuts: Mapping[int, int]) -> NDArray[np.int64]:
    """
    Where in the budget each episode stands: at the steps of all episodes that ended so far.

    :param lengths: of the episodes, in the order of their ends
    :param cuts: environment steps at which all episodes in progress were lost, and how many had ended by then
    :return: environment steps
    """
    steps = lengths.cumsum()
    for lost_at, ended in sorted(cuts.items()):
        steps[ended:] += lost_at - (steps[ended - 1] if ended else 0)
    return steps


def _episodes_in(monitors: Sequence[Path]) -> int:
    return sum(len(file.read_text().splitlines()) - _HEADER_LINES for file in monitors)


def _settings(records: Sequence[tuple[RunFolder, dict[str, Any]]]) -> bytes:
    """Settings of each task and label, and the command of one of its runs."""
    settings: dict[str, dict[str, Any]] = {}
    for run, record in records:
        command = record["command"].replace(f"{run.path}/", "").replace(str(run.path), ".").partition(" ")[2]
        values = {**run.plan.kind_settings(), "command": f"python {command}"}
        settings.setdefault(run.plan.task, {}).setdefault(run.plan.label, values)
    return json_bytes(settings)


def json_bytes(settings: Mapping[str, Any]) -> bytes:
    """Content of a JSON file of the settings by task and label; equal settings give equal bytes."""
    return (json.dumps(settings, indent=1, sort_keys=True) + "\n").encode()


def to_csv(rows: Sequence[dict[str, Any]] | pd.DataFrame) -> bytes:
    """Content of a CSV file of rows that have the same columns each; numbers have seven digits."""
    return pd.DataFrame(rows).to_csv(index=False, float_format="%.7g").encode() if len(rows) else b""

"""Studies of milliseconds: runs whose training process is a small script, or folders written by hand."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sb3_qflex.studies.definition import Evaluation, load_study
from sb3_qflex.studies.plan import Plan

STUDY = """
title: A tiny study
budget: 100
seeds: 2
regime: paper
evaluation: {every: 50, episodes: 2}
tasks:
  chain:
    env: PlanarChain-v0
    env_kwargs: {n_links: 3}
    actions: 3
    hyperparameters: {n_envs: 2, policy_kwargs: null}
algorithms:
  qflex:
  crossq (fast): {algo: crossq, hyperparameters: {learning_rate: 0.01}}
"""

# Leaves what a training process leaves. It holds on after half of its steps while the file "hold-seed<k>" is there.
_TRAINING = """
import json, pathlib, sys, time
folder, steps, fails = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1"
(folder / "new").write_text(json.dumps({"steps": steps // 2, "seconds": 1.0}))
(folder / "new").rename(folder / "progress.json")
while (folder.parents[2] / f"hold-{folder.name}").exists():
    time.sleep(0.02)
if fails:
    sys.exit("the reason")
import numpy as np
zoo = folder / "zoo/qflex/PlanarChain-v0_1"
zoo.mkdir(parents=True)
np.savez(zoo / "evaluations.npz", timesteps=[steps // 2, steps], results=[[0.0, 2.0], [4.0, 8.0]],
         ep_lengths=[[50, 50], [50, 50]])
(zoo / "PlanarChain-v0.zip").write_bytes(b"model")
(zoo / "best_model.zip").write_bytes(b"model")
(zoo / "0.monitor.csv").write_text('#{"t_start": 0.0}\\nr,l,t\\n-3.0,50,1.0\\n-1.0,50,2.0\\n')
parts = {"environment": 1.0, "acting": 1.0, "buffer": 0.0, "update": 2.0, "evaluation": 1.0, "other": 0.0}
notes = [{"steps": steps // 2, "seconds": 2.0, "evaluation seconds": 0.5},
         {"steps": steps, "seconds": 5.0, "evaluation seconds": 1.0}]
measured = {"steps": steps, "environments": 2, "updates": 7, "training seconds": 5.0, "time split": parts,
            "evaluations": notes}
(folder / "measured.json").write_text(json.dumps(measured))
"""


@dataclass(frozen=True)
class FakePlan(Plan):
    """A run of the script above: ``steps`` and ``fails`` say what becomes of it."""

    steps: int = 100
    fails: bool = False

    def settings(self) -> dict[str, Any]:
        return {key: value for key, value in super().settings().items() if key not in ("steps", "fails")}

    def command(self, folder: Path) -> list[str]:
        return [sys.executable, "-c", _TRAINING, str(folder), str(self.steps), str(int(self.fails))]


def fake_plan(seed: int = 0, **kwargs: object) -> FakePlan:
    """A run of the task "chain" by "qflex" with a budget of 100 steps."""
    fields = {
        "task": "chain",
        "label": "qflex",
        "algo": "qflex",
        "env": "PlanarChain-v0",
        "env_kwargs": {},
        "seed": seed,
    }
    fields |= {"budget": 100, "evaluation": Evaluation(50, 2, 2), "hyperparameters": {}, "save_every": None}
    return FakePlan(**{**fields, **kwargs})  # type: ignore[arg-type]


def study_file(folder: Path, text: str = STUDY):
    """The study, written into a folder and read from there."""
    path = folder / "tiny.yml"
    path.write_text(text)
    return load_study(str(path))


def starts(root: Path, plan: Plan) -> int:
    """How often a run was begun."""
    return len(json.loads((root / plan.name / "begun.json").read_text())["begun"])

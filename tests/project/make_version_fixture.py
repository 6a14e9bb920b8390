"""
Make the model of ``tests/fixtures`` for the present version, and record how it acts:
``PYTHONPATH=tests python tests/project/make_version_fixture.py``.

Run once for each release, by the release's own code; ``test_versions.py`` holds later code to it.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import torch as th
from helpers.places import TESTS
from helpers.small_models import BoxEnv, small_model

from sb3_qflex import __version__

FOLDER = TESTS / "fixtures"


def compress(path: Path) -> None:
    """The same parts, deflated: a repository keeps every fixture for ever."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def main() -> None:
    th.set_num_threads(1)
    options = {"preconditioner": "rms", "ent_coef": "auto_0.1", "flow_steps": 3}
    model = small_model(BoxEnv(), policy_kwargs={"net_arch": [4]}, **options).learn(60)
    observations = np.random.default_rng(0).uniform(-1.0, 1.0, (5, 3)).astype(np.float32)
    actions = model.predict(observations, deterministic=True)[0]
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"qflex_{__version__}.zip"
    model.save(path)
    compress(path)
    expected = {"observations": observations.tolist(), "actions": actions.tolist(), "n_updates": model._n_updates}
    (FOLDER / f"qflex_{__version__}.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What importing the package loads: structure rather than time, which depends on the machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sb3_qflex

HEAVY = ("torch", "numpy", "gymnasium", "stable_baselines3", "matplotlib", "pandas")
OPTIONAL = ("mujoco", "myosuite", "mujoco_menagerie", "rl_zoo3", "ray", "seaborn", "optuna", "onnx", "onnxruntime")
OPTIONAL += ("rliable", "scipy", "imageio", "sphinx")


def loaded(code: str, folder: Path) -> set[str]:
    """Top-level modules that a new process has loaded after ``code``."""
    root = str(Path(sb3_qflex.__file__).parents[1])
    code = f"import sys, json; sys.path.insert(0, {root!r}); {code}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_the_package_alone_loads_nothing_heavy(tmp_path: Path) -> None:
    assert not loaded("import sb3_qflex; sb3_qflex.__version__; dir(sb3_qflex)", tmp_path) & set(HEAVY)


def test_environments_load_no_torch(tmp_path: Path) -> None:
    modules = loaded("import sb3_qflex.envs", tmp_path)
    assert not modules & {"torch", "stable_baselines3", "mujoco", "myosuite"}


def test_the_algorithm_loads_no_more_than_stable_baselines3(tmp_path: Path) -> None:
    before = loaded("import stable_baselines3", tmp_path)
    after = loaded("from sb3_qflex import QFlex, QFlexPolicy", tmp_path)
    assert "sb3_qflex" in after
    assert not (after - before) & set(OPTIONAL)
    third_party = {name for name in after - before if not name.startswith("_")} - set(sys.stdlib_module_names)
    assert third_party == {"sb3_qflex"}


def test_every_public_name_is_there(subtests: pytest.Subtests) -> None:
    for name in sb3_qflex.__all__:
        with subtests.test(name):
            assert getattr(sb3_qflex, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Qflex'"):
        _ = sb3_qflex.Qflex

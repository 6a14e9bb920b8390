"""A downstream project that is checked with ``mypy --strict`` gets our types."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sb3_qflex

pytest.importorskip("mypy", reason="mypy (extra dev) is not installed")

DOWNSTREAM = '''
import gymnasium as gym
import numpy as np
from stable_baselines3.common.env_util import make_vec_env

from sb3_qflex import QFlex, QFlexPolicy, __version__
from sb3_qflex.envs import OverActuated, PlanarChain, PlanarChainVecEnv, SigmoidExcitation
from sb3_qflex.qflex.flow import integrate
from sb3_qflex.vec_env import WorkerVecEnv


class Mine(QFlexPolicy):
    """A policy of a user."""


def train(n_envs: int) -> QFlex:
    env = PlanarChainVecEnv(num_envs=n_envs, n_links=5)
    model = QFlex(Mine, env, flow_steps=5, preconditioner=np.ones(5), policy_kwargs={"net_arch": [16]})
    reveal_type(model.learn(100))
    reveal_type(model.policy)
    reveal_type(integrate)
    return model


def workers(n_envs: int) -> WorkerVecEnv:
    def make() -> gym.Env[np.ndarray, np.ndarray]:
        return OverActuated(PlanarChain(n_links=3), copies=2)

    return WorkerVecEnv([make] * n_envs, n_workers=1, infos=["distance"])


version: str = __version__
loaded: QFlex = QFlex.load("model.zip", flow_steps=5)
QFlex("MlpPolicy", "Pendulum-v1", flow_steps="five")
QFlex("MlpPolicy", "Pendulum-v1", guidance_step_sise=0.1)
SigmoidExcitation(3)
'''

# What mypy has to say about it, and nothing else: the three revealed types, and the three mistakes at the end.
EXPECTED = [
    ('Revealed type is "sb3_qflex.qflex.qflex.QFlex"', ""),
    ('Revealed type is "sb3_qflex.qflex.policies.QFlexPolicy"', ""),
    ('Revealed type is "def (velocity: def (float, torch._tensor.Tensor)', '-> torch._tensor.Tensor"'),
    ('Argument "flow_steps" to "QFlex" has incompatible type "str"; expected "int"', "[arg-type]"),
    ('Argument "guidance_step_sise" to "QFlex" has incompatible type "float"', "[arg-type]"),
    ('Argument 1 to "SigmoidExcitation" has incompatible type "int"', "[arg-type]"),
]


@pytest.mark.slow
def test_strict_downstream_project(tmp_path: Path) -> None:
    file = tmp_path / "downstream.py"
    file.write_text(DOWNSTREAM)
    # Silent about the package itself, as mypy is about site-packages.
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
    command += ["--cache-dir", str(tmp_path / "cache"), file.name]
    root = str(Path(sb3_qflex.__file__).parents[1])
    environment = {**os.environ, **({} if "site-packages" in root else {"MYPYPATH": root})}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stderr == ""
    found = re.findall(r"^downstream.py:\d+: (?:error|note): (.*)$", done.stdout, re.MULTILINE)
    for (begin, end), message in zip(EXPECTED, found, strict=True):
        assert message.startswith(begin) and message.endswith(end), done.stdout

"""The C++ program of the examples prints the actions that ``predict`` returns."""

import shutil
import subprocess

import numpy as np
import pytest
import torch as th
from helpers.places import EXAMPLES
from helpers.small_models import BoxEnv, observations, small_model

EXAMPLE = EXAMPLES / "cpp"


@pytest.mark.slow
def test_the_program_acts_as_predict_does(tmp_path):
    if not EXAMPLE.is_dir():
        pytest.skip("the examples are in the repository, not in the wheel")
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("cmake or a C++ compiler is not installed")
    prefix = f"-DCMAKE_PREFIX_PATH={th.utils.cmake_prefix_path}"
    subprocess.run(["cmake", "-S", EXAMPLE, "-B", tmp_path / "build", prefix], check=True)
    subprocess.run(["cmake", "--build", tmp_path / "build"], check=True)
    model = small_model(BoxEnv()).learn(30)
    policy = model.export_torchscript(tmp_path / "policy")
    obs = observations(model)
    text = "\n".join(" ".join(map(repr, row)) for row in obs.tolist())
    program = [tmp_path / "build" / "run_policy", policy, str(obs.shape[1])]
    printed = subprocess.run(program, input=text, check=True, capture_output=True, text=True).stdout
    actions = np.array([line.split() for line in printed.splitlines()], dtype=np.float64)
    np.testing.assert_allclose(actions, model.predict(obs, deterministic=True)[0], rtol=0, atol=1e-5)

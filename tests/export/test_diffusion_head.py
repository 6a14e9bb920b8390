"""A chain of denoising steps as a pure function and as ONNX nodes: the policy's deterministic action."""

import io
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.utils import ConstantSchedule

from sb3_qflex.common import options
from sb3_qflex.common.diffusion_policy import DiffusionPolicyBase
from sb3_qflex.common.validation import UnsupportedError
from sb3_qflex.export.diffusion_head import DiffusionHead
from sb3_qflex.export.policy_module import ExportedPolicy

STATES, BOX = spaces.Box(-1.0, 1.0, (4,), np.float32), spaces.Box(-2.0, 1.0, (3,), np.float32)
OBSERVATIONS = np.random.default_rng(0).uniform(-1.0, 1.0, (70, 4)).astype(np.float32)


class Chain(DiffusionPolicyBase):
    followed = ("critic", "actor")

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        options.check_options(self)

    def exported_head(self, takes_noise: bool = False) -> DiffusionHead:
        return DiffusionHead(self, takes_noise)


def policy(n_particles: int, n_critics: int = 2) -> Chain:
    th.manual_seed(0)
    made = Chain(STATES, BOX, ConstantSchedule(1e-3), [16, 16], n_particles=n_particles, n_critics=n_critics,
                 diffusion_steps=5)  # fmt: skip
    made.follow(0.0)
    with th.no_grad():
        for parameter in made.actor.parameters():
            parameter.add_(1.0)  # so that the one that acts is not the one that learns
    return made


@pytest.mark.parametrize(("n_particles", "n_critics"), [(1, 2), (8, 2), (4, 1)])
def test_exported_chains_give_the_deterministic_action(n_particles: int, n_critics: int) -> None:
    chain = policy(n_particles, n_critics)
    expected = chain.predict(OBSERVATIONS, deterministic=True)[0]
    exported = ExportedPolicy(chain)
    with th.no_grad():
        np.testing.assert_allclose(exported(th.as_tensor(OBSERVATIONS)).numpy(), expected, atol=1e-4)
    onnxruntime = pytest.importorskip("onnxruntime", reason="the export extra is not installed")
    from sb3_qflex.export.onnx_graph import build_model

    file = io.BytesIO(build_model(exported).SerializeToString())
    session = onnxruntime.InferenceSession(file.getvalue())
    for rows in (slice(None), slice(3, 4)):
        given = session.run(None, {"obs": OBSERVATIONS[rows]})[0]
        np.testing.assert_allclose(given, expected[rows], atol=1e-4)


def test_noise_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="leave out noise"):
        ExportedPolicy(policy(2), takes_noise=True)

"""Guidance and flow are loops that a CUDA graph can hold, and how inputs and outputs of one are handed over."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_qflex import QFlexPolicy
from sb3_qflex.common.fast import cuda_graph
from sb3_qflex.common.fast.folding import FoldedMLP, folded_q_gradient, folded_velocity
from sb3_qflex.qflex.flow import integrate
from sb3_qflex.qflex.guidance import ascend


def make_policy(**kwargs) -> QFlexPolicy:
    space = spaces.Box(-np.inf, np.inf, (5,), np.float32)
    arguments = {"net_arch": [8, 8], "flow_steps": 3, "guidance_steps": 3, **kwargs}
    return QFlexPolicy(space, spaces.Box(-1, 1, (4,), np.float32), lambda _: 1e-3, **arguments)


@pytest.mark.parametrize("dtype", [th.float32, th.bfloat16])
@th.no_grad()
def test_no_step_waits_for_the_values_of_the_last_one(dtype: th.dtype) -> None:
    """Tensors of the device "meta" have no values: asking for one, or for a size that depends on one, is an error."""
    policy = make_policy(n_critics=3).to("meta")
    obs, actions, metric = (th.empty(shape, device="meta") for shape in ((6, 5), (6, 4), (4,)))
    critics = [FoldedMLP(net, 5).rounded(dtype) for net in policy.critic.q_networks]
    guidance = ascend(folded_q_gradient(critics, obs), actions, 3, 0.01, metric)
    assert [(one.shape, one.dtype) for one in guidance] == [
        ((6, 4), th.float32), ((6, 4), th.float32), ((3, 6), th.float32),
    ]  # fmt: skip
    assert integrate(folded_velocity(FoldedMLP(policy.field.net, 5), obs), actions, 3).shape == (6, 4)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("net_arch", [[], [8], [8, 6]])
@th.no_grad()
def test_a_network_of_other_tensors(net_arch: list[int], batch_norm: bool) -> None:
    one, other = (
        FoldedMLP(make_policy(net_arch=net_arch, batch_norm=batch_norm).critic.q_networks[0], 5) for _ in range(2)
    )
    obs, actions = th.randn(7, 5), th.rand(7, 4)
    expected, found = (folded_q_gradient([net], obs)(actions) for net in (other, one.of(other.tensors())))
    assert th.equal(found, expected) and not th.equal(folded_q_gradient([one], obs)(actions), expected)


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Graphs on a CPU: replaying computes anew, into the same outputs and from the same inputs."""
    made: list[None] = []

    def capture(function: Callable[[], Sequence[th.Tensor]]):
        made.append(None)
        outputs = [output.clone() for output in function()]

        def replay() -> None:
            for mine, output in zip(outputs, function(), strict=True):
                mine.copy_(output)

        return outputs, replay

    monkeypatch.setattr(cuda_graph, "_capture", capture)
    monkeypatch.setattr(cuda_graph, "is_on", lambda device: True)
    return made


@pytest.mark.parametrize("preconditioner", [None, "rms", [1.0, 2.0, 3.0, 4.0]])
def test_replayed_loops_follow_weights_and_inputs(preconditioner, captures, monkeypatch) -> None:
    policy = make_policy(preconditioner=preconditioner)
    kept = []
    for _ in range(3):
        with th.no_grad():
            for parameter in policy.parameters():
                parameter.add_(0.1 * th.randn_like(parameter))
            policy.mean_square_gradient.add_(th.rand(4))
        obs, start = th.randn(6, 5), th.rand(6, 4) * 2 - 1
        found = [*policy.ascend(obs, start), policy.flow(obs, start)]
        with monkeypatch.context() as patch:
            patch.setattr(cuda_graph, "is_on", lambda device: False)
            expected = [*policy.ascend(obs, start), policy.flow(obs, start)]
        kept += list(zip(found, expected, strict=True))
    # Results of earlier calls stay what they were.
    assert all(th.equal(one, other) for one, other in kept)
    assert len(captures) == 2


def test_other_shapes_and_options_are_other_graphs(captures) -> None:
    policy, sizes = make_policy(), (6, 7, 6)
    for size in sizes:
        policy.flow(th.randn(size, 5), th.rand(size, 4))
    assert len(captures) == 2
    for steps in range(1, 20):
        policy.flow_steps = steps
        policy.flow(th.randn(6, 5), th.rand(6, 4))
        assert len(policy._graphs._graphs) <= cuda_graph._MOST
    assert len(captures) >= 19


def test_off_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cuda_graph.VARIABLE, raising=False)
    assert not cuda_graph.is_on(th.device("cuda"))
    monkeypatch.setenv(cuda_graph.VARIABLE, "1")
    assert cuda_graph.is_on(th.device("cuda")) and not cuda_graph.is_on(th.device("cpu"))

"""Training with the fast path learns what training with the readable definitions learns."""

from contextlib import nullcontext

import pytest
import torch as th

from sb3_qflex import QFlex
from sb3_qflex.benchmark.flops import Problem
from sb3_qflex.benchmark.workloads import filled_buffer, plain_path, qflex

PROBLEM = Problem(23, 12, (64, 64))


def updated(plain: bool, n_updates: int, **kwargs) -> QFlex:
    """A model after updates on the same batches, with the same noise."""
    model = qflex(PROBLEM, filled_buffer(PROBLEM, 1000), **kwargs)
    with plain_path(model.policy) if plain else nullcontext():
        model.set_random_seed(1)
        model.train(n_updates, 64)
    return model


@pytest.mark.parametrize("kwargs", [{}, {"ent_coef": "auto"}, {"preconditioner": "rms", "bootstrap": "flow"}], ids=str)
def test_twenty_updates_agree_with_the_readable_definitions(kwargs: dict) -> None:
    fast, plain = (updated(plain, 20, **kwargs) for plain in (False, True))
    other = updated(False, 19, **kwargs)
    assert fast._n_updates == plain._n_updates
    for name, parameter in fast.policy.named_parameters():
        th.testing.assert_close(parameter, plain.policy.get_parameter(name), atol=1e-4, rtol=0.0)
    # The tolerance is one that another update would exceed.
    weights = [model.policy.get_parameter("field.net.1.weight") for model in (fast, other)]
    assert (weights[0] - weights[1]).abs().max() > 1e-4

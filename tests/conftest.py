"""What all tests share."""

import pytest
from stable_baselines3.common.utils import set_random_seed


@pytest.fixture(autouse=True)
def _same_random_numbers_at_each_run() -> None:
    """Seed the global generators, so that a test draws the same numbers alone, in the suite and in the next run.

    A test that needs several draws, or others, seeds again.
    """
    set_random_seed(0)

"""A few random models; ``PYTHONPATH=tests python tests/robustness/fuzz.py`` builds thousands."""

import os

from helpers.fuzz_cases import boxes
from hypothesis import given, settings
from robustness.fuzz import fuzz
from stable_baselines3.common.preprocessing import get_action_dim

#: A longer run of this suite: SB3_QFLEX_FUZZ=1000 pytest tests/common/test_fuzz_models.py
CONSTRUCTIONS = int(os.environ.get("SB3_QFLEX_FUZZ", 100))


def test_models_are_built_or_refused() -> None:
    counts = fuzz(CONSTRUCTIONS, train_every=10)
    assert counts["built"] + counts["refused"] >= CONSTRUCTIONS
    # Of a hundred, since hypothesis takes constants from what else was imported, which decides how many can be built.
    assert counts["built"] >= 10 and counts["refused"] > 0 and counts["trained"] > 0


@settings(max_examples=50, deadline=None, derandomize=True)
@given(boxes(300))
def test_random_boxes_are_what_they_should_be(box) -> None:
    assert (box.high > box.low).all() and 1 <= get_action_dim(box) <= 300

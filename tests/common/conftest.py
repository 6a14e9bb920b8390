"""Fixtures of the tests of bfloat16."""

from collections.abc import Iterator

import pytest

from sb3_qflex.common.fast import rounding


@pytest.fixture(autouse=True)
def _warn_again() -> Iterator[None]:
    rounding.warn_float32.cache_clear()
    yield
    rounding.warn_float32.cache_clear()


@pytest.fixture(params=[True, False], ids=["fast", "slow"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether bfloat16 counts as fast, whatever this processor has."""
    monkeypatch.setattr(rounding, "has_fast_bfloat16", lambda device: request.param)
    return request.param

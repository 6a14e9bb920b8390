"""``sb3-qflex doctor``."""

import sys
from collections.abc import Callable

import pytest

import sb3_qflex
from sb3_qflex.cli import doctor
from sb3_qflex.cli import main as command
from sb3_qflex.envs import CATALOGUE, models


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """What doctor prints; its exit code must be the one given."""

    def run(code: int) -> list[str]:
        assert command.main(["doctor"]) == code
        return capsys.readouterr().out.splitlines()

    monkeypatch.setattr(
        doctor, "requires", lambda name: ["torch>=2", "onnx>=99; extra == 'export'", "no-such; extra == 'ray'"]
    )
    return run


def test_what_works_and_what_is_missing(
    lines: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setenv("SB3_QFLEX_ASSETS", str(tmp_path))
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    found = lines(0)
    assert f"  sb3-qflex {sb3_qflex.__version__}" in found
    assert any(line.startswith("  device: ") for line in found)
    assert any(line.startswith("  threads of torch: ") for line in found)
    assert "  PlanarChain-v0: found" in found
    assert any(
        line.startswith("  MyoLegWalk-v0: package myosuite is not installed: run `pip install") for line in found
    )
    assert all(any(line.startswith(f"  {entry.id}: ") for line in found) for entry in CATALOGUE)
    assert "  no-such is not installed: pip install no-such" in found
    assert any(line.endswith("pip install 'onnx>=99'") for line in found)


def test_a_broken_core_is_told_and_ends_with_1(
    lines: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise ImportError("libtorch.so: cannot open shared object file")

    monkeypatch.setattr("sb3_qflex.qflex.qflex.QFlex", broken)
    found = lines(1)
    assert "  ImportError: libtorch.so: cannot open shared object file" in found


def test_a_requirement_that_is_too_old_ends_with_1(
    lines: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "requires", lambda name: ["torch>=99"])
    assert any(line.endswith("needed is >=99: pip install 'torch>=99'") for line in lines(1))


@pytest.mark.parametrize(
    ("variable", "is_there", "words"),
    [("1", True, "active"), ("0", True, "turned off by SB3_QFLEX_ZOO=0"), ("1", False, "not installed")],
)
def test_startup_hook(variable: str, is_there: bool, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SB3_QFLEX_ZOO", variable)
    monkeypatch.delitem(sys.modules, "_sb3_qflex_startup", raising=False)
    if is_there:
        monkeypatch.setitem(sys.modules, "_sb3_qflex_startup", sys)
    assert words in doctor._startup_hook()

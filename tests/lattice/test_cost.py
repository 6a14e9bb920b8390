"""The command that measures what Lattice costs."""

import pytest

from sb3_qflex.lattice import cost


def test_it_prints_a_row_for_each_size(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_MOST_REPETITIONS", 3)
    cost.main(["--rows", "4", "--actuators", "3", "9", "--latents", "5"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1:3] for line in lines[2:]] == [[" 3 ", " 5 "], [" 9 ", " 5 "]]
    assert all(line.count("|") == len(cost.COLUMNS) + 1 for line in lines)
    assert all(line.count(" x)") == 5 for line in lines[2:])

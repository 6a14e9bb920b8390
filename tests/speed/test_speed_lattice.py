"""The row of Lattice: what it compares, and that the closed form serves again behind it."""

from dataclasses import replace

import pytest

from sb3_qflex.lattice.gaussian import LatticeGaussian
from sb3_qflex.speed.flops import Problem
from sb3_qflex.speed.rows import lattice
from sb3_qflex.speed.settings import quick
from sb3_qflex.speed.timing import Schedule


def test_updates_and_noise_of_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    readable: list[int] = []
    definition = LatticeGaussian.readable_log_prob

    def counted(gaussian: LatticeGaussian, actions):
        readable.append(len(actions))
        return definition(gaussian, actions)

    monkeypatch.setattr(LatticeGaussian, "readable_log_prob", counted)
    monkeypatch.setattr(lattice, "_MOST_ACTUATORS", 4)
    fast = LatticeGaussian.log_prob
    sizes = Problem(5, 3, (16, 16)), Problem(5, 4, (8, 8))
    section = lattice.measure_lattice(replace(quick(1), sizes=sizes, schedule=Schedule(0.0, 2, 2, 0.0)))
    assert LatticeGaussian.log_prob is fast and lattice.BATCH_SIZE in readable
    updates = ["SAC", "LatticeSAC", "by definition", "LatticeSAC / SAC", "by definition / SAC"]
    noise = list(lattice.noise_workloads(3, 4, 2))
    found = [(one.case, one.quantity) for one in section.measurements]
    assert found == [
        *(("5 / 3, 2 x 16", name) for name in updates),
        *(("d = 3, n = 16, 256 rows", name) for name in noise),
        *(("d = 4, n = 8, 256 rows", name) for name in noise),
    ]

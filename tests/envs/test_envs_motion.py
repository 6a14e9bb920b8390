"""Cyclic motions: the spline at and between samples, and files that are refused."""

import numpy as np
import pytest

from sb3_qflex.envs.motion import CyclicMotion

pytest.importorskip("scipy")


def write(path, **entries):
    np.savez(path, **entries)
    return path


@pytest.fixture
def circle(tmp_path):
    """Two seconds of sines at 50 Hz; coordinate 2 advances by 3 in a cycle, with a sine on top."""
    times = np.arange(100) / 50
    cycle = np.stack([np.sin(np.pi * times), np.cos(np.pi * times), 1.5 * times, *[0.1 * np.sin(np.pi * times)] * 3])
    cycle[2] += 0.05 * np.sin(np.pi * times)
    return write(tmp_path / "circle.npz", qpos_traj=cycle.T, framerate=50.0, stride=3.0)


def test_a_sampled_circle_is_reproduced_between_samples(circle):
    motion = CyclicMotion(circle, 6)
    assert motion.period == pytest.approx(2.0)
    assert motion.forward_speed == pytest.approx(1.5)
    assert motion.largest_rotation == pytest.approx(0.1, rel=1e-3)
    # Cubic splines are of fourth order: (π/50)^4 / 384 for the values of a sine.
    for time in (0.0, 0.013, 0.777, 1.995, 2.0, 4.321):
        position, velocity = motion.at(time)
        sine, cosine = np.sin(np.pi * time), np.cos(np.pi * time)
        np.testing.assert_allclose(position[:4], [sine, cosine, 1.5 * time + 0.05 * sine, 0.1 * sine], atol=1e-6)
        np.testing.assert_allclose(
            velocity[:4],
            np.array([np.pi * cosine, -np.pi * sine, 1.5 + 0.05 * np.pi * cosine, 0.1 * np.pi * cosine]),
            atol=1e-4,
        )


def test_missing_stride_is_extrapolated(tmp_path):
    cycle = np.zeros((10, 6))
    cycle[:, 2] = np.arange(10) * 0.2
    motion = CyclicMotion(write(tmp_path / "m.npz", qpos_traj=cycle, framerate=10), 6)
    # Nine steps of 0.2 and a tenth like the first.
    assert motion.forward_speed == pytest.approx(2.0)
    assert motion.at(2.5)[0][2] == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"qpos": np.zeros((5, 6)), "framerate": 10}, "must be an .npz with 'qpos_traj'"),
        ({"qpos_traj": np.zeros((5, 6))}, "must be an .npz with 'qpos_traj'"),
        ({"qpos_traj": np.zeros((5, 7)), "framerate": 10}, r"rows of 6 joint coordinates, got \(5, 7\)"),
        ({"qpos_traj": np.zeros((2, 6)), "framerate": 10}, "at least 3 finite rows"),
        ({"qpos_traj": np.full((5, 6), np.nan), "framerate": 10}, "at least 3 finite rows"),
        ({"qpos_traj": np.zeros((5, 6)), "framerate": 0}, "'framerate' must be above 0"),
        ({"qpos_traj": np.zeros((5, 6)), "framerate": 10, "stride": np.inf}, "'stride' finite"),
        ({"qpos_traj": np.array([{}], dtype=object), "framerate": 10}, "must be an .npz with 'qpos_traj'"),
    ],
)
def test_files_of_another_format_are_refused(tmp_path, entries, message):
    with pytest.raises(ValueError, match=message):
        CyclicMotion(write(tmp_path / "bad.npz", **entries), 6)


def test_a_text_file_is_refused(tmp_path):
    path = tmp_path / "motion.npz"
    path.write_text("time,pelvis_tx\n0,0\n")
    with pytest.raises(ValueError, match=r"motion\.npz is not a motion file"):
        CyclicMotion(path, 6)

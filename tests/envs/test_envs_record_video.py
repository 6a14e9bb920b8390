"""The video example, run as a user runs it."""

import os
import subprocess
import sys

import pytest
from helpers.places import ROOT

imageio = pytest.importorskip("imageio.v2")


def record(*arguments):
    command = [sys.executable, str(ROOT / "examples" / "record_video.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_a_picture_is_written_once(tmp_path):
    path = tmp_path / "chain.png"
    assert record("PlanarChain-v0", path, "--kwargs", "n_links: 5").returncode == 0
    assert imageio.imread(path).shape == (240, 240, 3)
    again = record("PlanarChain-v0", path)
    assert again.returncode != 0 and "must not exist yet" in again.stderr


def test_a_video_has_a_frame_for_the_start_and_each_step(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "chain.mp4"
    result = record("PlanarChain-v0", path, "--steps", 7)
    assert result.returncode == 0, result.stderr
    with imageio.get_reader(path) as video:
        assert video.count_frames() == 8
        assert video.get_meta_data()["fps"] == 25

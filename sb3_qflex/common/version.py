"""The version of this package; ``version.txt`` is its only source."""

from pathlib import Path

VERSION = (Path(__file__).parents[1] / "version.txt").read_text().strip()

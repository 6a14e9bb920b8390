"""Where tests find the rest of the repository; a suite that was copied beside an installed wheel lacks some of it."""

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
EXAMPLES = ROOT / "examples"
DOCS = ROOT / "docs"

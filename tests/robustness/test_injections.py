"""Short forms of the commands that inject faults, and the table in the docs that their files make."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.injection_record import COLUMNS, FOLDER, write_record
from helpers.process_watch import environment_of_children
from robustness import inject_corrupted_files, inject_worker_kills
from robustness.robustness_table import PAGE, table, with_table


def test_the_page_has_the_table_of_the_files() -> None:
    if not PAGE.is_file():
        pytest.skip("needs docs/robustness.md of the repository")
    assert with_table(PAGE.read_text()) == PAGE.read_text()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_each_file_says_what_was_done(path: Path) -> None:
    record = json.loads(path.read_text())
    assert {*COLUMNS, "command", "versions", "date"} <= record.keys()
    assert record["count"] > 0


def test_a_record_becomes_a_row(tmp_path: Path) -> None:
    write_record("b", tmp_path, fault="f", how="a | b", count=1000, outcome="o", lost="nothing")
    assert r"| f | a \| b | 1,000 | o | nothing | `python" in table(tmp_path)
    with pytest.raises(ValueError, match="needs lost as well"):
        write_record("c", tmp_path, fault="f", how="h", count=1, outcome="o")


def test_worker_kills() -> None:
    result = inject_worker_kills.inject(4, seed=1)
    assert sum(result["moments"].values()) == 4
    assert (result["hangs"], result["orphans"], result["leaked"]) == (0, 0, 0)


def test_corrupted_files() -> None:
    outcomes, faults = inject_corrupted_files.inject(30, seed=1)
    assert faults == []
    assert outcomes["refused"] > 20 and outcomes.total() == 30 + len(list(inject_corrupted_files.foreign()))


@pytest.mark.slow
def test_soak(tmp_path: Path) -> None:
    # A process of its own: what other tests hold comes and goes.
    sizes = ["--updates", "300", "--n-envs", "4", "--gradient-steps", "4", "--buffer-size", "40"]
    script = Path(__file__).with_name("soak.py")
    command = [sys.executable, script, *sizes, "--out", tmp_path]
    subprocess.run(command, env=environment_of_children(), capture_output=True, check=False)
    record = json.loads((tmp_path / "soak.json").read_text())
    assert record["updates"] == 300 and record["constant"] == {"fds": True, "shared_memory": True, "children": True}
    # The caches of the allocator still fill.
    assert abs(record["growth"]) < 0.1

"""The notebook runs from the first cell to the last, and is committed as it was executed."""

import os
from pathlib import Path

import pytest
from helpers.places import EXAMPLES

import sb3_qflex

nbformat = pytest.importorskip("nbformat", reason="nbformat (extra dev) is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient (extra dev) is not installed")
pytest.importorskip("ipykernel", reason="ipykernel (extra docs) is not installed")

NOTEBOOK = EXAMPLES / "flow_on_planar_chain.ipynb"
TINY = "N_LINKS, N_ENVS, STEPS, NET_ARCH, GUIDANCE_STEP_SIZE, SEED = 4, 4, 400, [16], 0.1, 0"

pytestmark = pytest.mark.skipif(not NOTEBOOK.is_file(), reason="needs examples/ of the repository")


def read():
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook) -> int:
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def execute(notebook, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel is another process: it shall import the package that is being tested.
    package = str(Path(sb3_qflex.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])))
    for cell in code_cells(notebook):
        cell.outputs = []
    nbclient.NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(folder)}}).execute()


def test_committed_with_its_outputs_and_small() -> None:
    assert NOTEBOOK.stat().st_size < 500_000
    notebook = read()
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run the notebook from the first cell to the last, then commit it"
    assert pictures(notebook) == 3


def test_runs_with_a_tiny_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = read()
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = TINY
    execute(notebook, tmp_path, monkeypatch)
    assert pictures(notebook) == 3


@pytest.mark.slow
def test_runs_as_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = read()
    execute(notebook, tmp_path, monkeypatch)
    assert pictures(notebook) == 3

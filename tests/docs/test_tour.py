"""The notebook runs from its first cell to its last."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

from blocks import ROOT

TOUR = ROOT / "examples" / "tour.ipynb"


def test_the_tour_is_kept_without_outputs() -> None:
    notebook = nbformat.read(TOUR, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None), "clear the outputs before you store it"


def test_the_tour_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(TOUR, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(TOUR.parent)}})
    client.execute()
    nbformat.write(notebook, tmp_path / "tour.ipynb")
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    texts = "".join(output.get("text", "") for output in outputs)
    assert [output.data["text/plain"] for output in outputs if output.output_type == "execute_result"] == ["np.True_"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert "ATTRIBUTION.md: is not an image" in texts
    assert "0 failed" in texts

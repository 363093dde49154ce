"""The notebook runs from its first cell to its last, and the outputs stored in it are what it prints.

After a change, `python tests/docs/test_tour.py` runs it and stores the outputs.
"""

import base64
from io import BytesIO
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from PIL import Image

TOUR = Path(__file__).resolve().parents[2] / "examples" / "tour.ipynb"


def executed() -> nbformat.NotebookNode:
    """Return the notebook with new outputs."""
    notebook = nbformat.read(TOUR, as_version=4)
    NotebookClient(
        notebook, timeout=300, record_timing=False, resources={"metadata": {"path": str(TOUR.parent)}}
    ).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":  # warnings name folders of the machine
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    notebook.metadata.pop("language_info", None)  # which Python ran it
    return notebook


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what each cell printed or returned as text, pictures left out."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output.get("text") or output.data["text/plain"] for output in outputs if not picture(output)]


def picture(output: nbformat.NotebookNode) -> str:
    """Return the PNG of an output in base64; empty where it has none."""
    found: str = output.get("data", {}).get("image/png", "")
    return found


def pictures(notebook: nbformat.NotebookNode) -> list[np.ndarray]:
    """Return the pixels of every picture."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    found = [BytesIO(base64.b64decode(picture(one))) for one in outputs if picture(one)]
    return [np.asarray(Image.open(one).convert("RGB"), float) for one in found]


def test_the_outputs_of_the_tour_are_current() -> None:
    stored, made = nbformat.read(TOUR, as_version=4), executed()
    nbformat.validate(stored)
    assert texts(made) == texts(stored), "run python tests/docs/test_tour.py"
    (before,), (after,) = pictures(stored), pictures(made)
    assert before.shape == after.shape
    assert np.abs(before - after).mean() < 3, "run python tests/docs/test_tour.py"
    said = "".join(texts(made))
    assert "np.True_" in texts(made)
    assert "ATTRIBUTION.md: is not an image" in said
    assert "0 failed" in said


if __name__ == "__main__":
    nbformat.write(executed(), TOUR)

"""The label files that come as MATLAB arrays, and CSIQ's workbook: here the names of the images are made, not read.

python -m qdebias.inputs.datasets.matlab PATH VARIABLE   writes a variable to stdout as .npy, or why not to stderr:
a process of its own, as a damaged file can end the one that reads it.
"""

import io
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qdebias.errors import SettingError
from qdebias.inputs.datasets.readers import DAMAGED, read_workbook
from qdebias.system.processes import module_command


def read(path: str, variable: str) -> bytes | str:
    """Return the variable as .npy, cells as their texts; or why there is none."""
    from scipy.io import loadmat, matlab

    try:
        content = loadmat(path)
        if variable not in content:
            return f"has no variable {variable}, only {[name for name in content if not name.startswith('__')]}"
        array = np.asarray(content[variable])
        if array.dtype == object:
            texts = [str(np.asarray(cell).ravel()[0]) for cell in array.ravel()]
            array = np.array(texts, dtype=str).reshape(array.shape)
        memory = io.BytesIO()
        np.save(memory, array, allow_pickle=False)
    except NotImplementedError:
        return "is a MATLAB 7.3 file; save it with -v7, or as CSV"
    except (*DAMAGED, matlab.MatReadError) as error:
        return f"is not a readable MATLAB file ({error})"
    return memory.getvalue()


if __name__ == "__main__":
    found = read(sys.argv[1], sys.argv[2])
    if isinstance(found, str):
        sys.exit(found)
    sys.stdout.buffer.write(found)


def load_variable(path: Path, variable: str) -> npt.NDArray[Any]:
    """Return one variable of a MATLAB file up to version 7, cells as their texts."""
    command = module_command("qdebias.inputs.datasets.matlab", str(path), variable)
    ran = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    if ran.returncode == 0:
        return np.asarray(np.load(io.BytesIO(ran.stdout), allow_pickle=False))
    if ran.returncode == 1:
        raise SettingError(f"{path}: {ran.stderr.decode(errors='replace').strip().splitlines()[-1]}")
    raise SettingError(f"{path}: is not a readable MATLAB file (reading it crashed the process that did)")


def read_columns(path: Path, *, names: str, scores: str, beside: str = "") -> list[Mapping[str, object]]:
    """Return rows of name and score from two variables of equal length; `beside`: the names' own file beside it."""
    other = path.with_name(beside) if beside else path
    columns = [load_variable(path, scores).ravel().tolist(), load_variable(other, names).ravel().tolist()]
    if len(columns[0]) != len(columns[1]):
        raise SettingError(f"{path}: {len(columns[0])} scores, but {len(columns[1])} names in {other.name}")
    return [{"name": name, "score": score} for score, name in zip(*columns, strict=True)]


def read_live(path: Path, *, variable: str) -> list[Mapping[str, object]]:
    """Return LIVE release 2, folder after folder without the references, whose names lie beside it."""
    folders = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
    names = [f"{folder}/img{number}.bmp" for folder, count in folders.items() for number in range(1, count + 1)]
    scores, originals = load_variable(path, variable).ravel(), load_variable(path, "orgs").ravel()
    references = load_variable(path.with_name("refnames_all.mat"), "refnames_all").ravel()
    if not len(names) == len(scores) == len(originals) == len(references):
        raise SettingError(
            f"{path}: expected {len(names)} scores, found {len(scores)}, with {len(originals)} marks and "
            f"{len(references)} references"
        )
    rows = zip(names, scores.tolist(), references.tolist(), originals.tolist(), strict=True)
    return [{"name": name, "score": score, "reference": source} for name, score, source, own in rows if not own]


def read_grid(
    path: Path, *, name: str, references: int, distortions: int, levels: int, variable: str = "DMOS"
) -> list[Mapping[str, object]]:
    """Return the scores of a complete design, in which {reference}, {distortion} and {level} of a name count from 1.

    The variable may be one long vector, the references slowest, or a matrix with one column (or one row) per reference.
    """
    each = distortions * levels
    matrix = load_variable(path, variable)
    if matrix.size != references * each:
        raise SettingError(f"{path}: expected {references * each} scores, found shape {matrix.shape}")
    scores = matrix.T if matrix.shape == (each, references) else matrix
    rows: list[Mapping[str, object]] = []
    for (reference, distortion, level), score in np.ndenumerate(scores.reshape(references, distortions, levels)):
        called = name.format(reference=reference + 1, distortion=distortion + 1, level=level + 1)
        rows.append({"name": called, "score": score.item()})
    return rows


def read_csiq_workbook(path: Path) -> list[Mapping[str, object]]:
    """Return CSIQ's rows from csiq.DMOS.xlsx, whose columns are the parts of the image's name."""
    kinds = {"noise": "AWGN", "blur": "BLUR", "jpeg": "JPEG", "jpeg 2000": "jpeg2000"}
    rows: list[Mapping[str, object]] = []
    for row in read_workbook(path, sheet="all_by_image", header="dst_type"):
        if row.get("image") is not None:
            kind = str(row.get("dst_type"))
            level = str(row.get("dst_lev")).removesuffix(".0")
            rows.append({"name": f"{row['image']}.{kinds.get(kind, kind)}.{level}.png", "score": row.get("dmos")})
    return rows

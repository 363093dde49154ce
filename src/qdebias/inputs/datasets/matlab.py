"""The label files that come as MATLAB arrays, and CSIQ's workbook: here the names of the images are made, not read.

python -m qdebias.inputs.datasets.matlab PATH VARIABLE   writes a variable to stdout as .npy, or why not to stderr:
a process of its own, as a damaged file can end the one that reads it.
"""

import io
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qdebias.errors import SettingError
from qdebias.inputs.datasets.readers import DAMAGED, Workbook
from qdebias.system.processes import module_command

NEWER = "is a MATLAB 7.3 file; save it with -v7, or as CSV"


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
        return NEWER
    except (*DAMAGED, matlab.MatReadError) as error:
        return f"is not a readable MATLAB file ({error})"
    return memory.getvalue()


if __name__ == "__main__":
    found = read(sys.argv[1], sys.argv[2])
    if isinstance(found, str):
        sys.exit(found)
    sys.stdout.buffer.write(found)


def load_variable(path: Path, variable: str) -> npt.NDArray[Any]:
    """Return one variable of a MATLAB file up to version 7, cells as their texts.

    It is read in another process: some damaged files of a few hundred bytes end the one in which SciPy reads them.

    Raises:
        SettingError: The file cannot be read, or has no such variable.
    """
    command = module_command("qdebias.inputs.datasets.matlab", str(path), variable)
    ran = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    if ran.returncode == 0:
        return np.asarray(np.load(io.BytesIO(ran.stdout), allow_pickle=False))
    if ran.returncode == 1:
        raise SettingError(f"{path}: {ran.stderr.decode(errors='replace').strip().splitlines()[-1]}")
    raise SettingError(f"{path}: is not a readable MATLAB file (reading it crashed the process that did)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Two variables of equal length.

    Attributes:
        names: The variable of the names.
        scores: The variable of the scores.
        beside: The file of the names, where it is another one beside that of the scores.
    """

    names: str
    scores: str
    beside: str = ""

    def __call__(self, path: Path) -> list[Mapping[str, object]]:
        """Return the rows with columns name and score."""
        scores = load_variable(path, self.scores).ravel().tolist()
        other = path.with_name(self.beside) if self.beside else path
        names = load_variable(other, self.names).ravel().tolist()
        if len(names) != len(scores):
            raise SettingError(f"{path}: {len(scores)} scores, but {len(names)} names in {other.name}")
        return [{"name": name, "score": score} for name, score in zip(names, scores, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveMatrix:
    """LIVE release 2: one score per image, folder after folder; the references among them are left out.

    Attributes:
        variable: "dmos", or "dmos_new" in the realigned file.
    """

    variable: str

    def __call__(self, path: Path) -> list[Mapping[str, object]]:
        """Return the rows with columns name, score and reference (from refnames_all.mat beside the file)."""
        folders = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
        names = [f"{folder}/img{number}.bmp" for folder, count in folders.items() for number in range(1, count + 1)]
        scores, originals = load_variable(path, self.variable).ravel(), load_variable(path, "orgs").ravel()
        cells = load_variable(path.with_name("refnames_all.mat"), "refnames_all").ravel()
        if not len(names) == len(scores) == len(originals) == len(cells):
            raise SettingError(
                f"{path}: expected {len(names)} scores, found {len(scores)}, with {len(originals)} marks and "
                f"{len(cells)} references"
            )
        references = cells.tolist()
        rows = zip(names, scores.tolist(), references, originals.tolist(), strict=True)
        return [{"name": name, "score": score, "reference": source} for name, score, source, own in rows if not own]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Scores of a complete design: references x distortions x levels.

    Attributes:
        name: The image's name, with {reference}, {distortion} and {level} counted from 1.
        references: How many references.
        distortions: How many distortions.
        levels: How many levels.
        variable: The MATLAB variable. It may be one long vector, the references slowest, or a matrix with one column
            (or one row) per reference; numbers, or numbers as text.
    """

    name: str
    references: int
    distortions: int
    levels: int
    variable: str = "DMOS"

    def __call__(self, path: Path) -> list[Mapping[str, object]]:
        """Return the rows with columns name and score."""
        each = self.distortions * self.levels
        matrix = load_variable(path, self.variable)
        if matrix.size != self.references * each:
            raise SettingError(f"{path}: expected {self.references * each} scores, found shape {matrix.shape}")
        scores = matrix.T.ravel() if matrix.shape == (each, self.references) else matrix.ravel()
        rows: list[Mapping[str, object]] = []
        for position, score in enumerate(scores.tolist()):
            reference, within = divmod(position, each)
            distortion, level = divmod(within, self.levels)
            name = self.name.format(reference=reference + 1, distortion=distortion + 1, level=level + 1)
            rows.append({"name": name, "score": score})
        return rows


def read_csiq_workbook(path: Path) -> list[Mapping[str, object]]:
    """Return CSIQ's rows from csiq.DMOS.xlsx, whose columns are the parts of the image's name."""
    kinds = {"noise": "AWGN", "blur": "BLUR", "jpeg": "JPEG", "jpeg 2000": "jpeg2000"}
    rows: list[Mapping[str, object]] = []
    for row in Workbook(sheet="all_by_image", header="dst_type")(path):
        if row.get("image") is not None:
            kind = str(row.get("dst_type"))
            level = str(row.get("dst_lev")).removesuffix(".0")
            rows.append({"name": f"{row['image']}.{kinds.get(kind, kind)}.{level}.png", "score": row.get("dmos")})
    return rows

"""Reads one variable of a MATLAB file, as a program of its own: a damaged file can end the process that reads it.

python -m qdebias.inputs.datasets.matlab_file PATH VARIABLE     writes it to stdout as .npy, or why not to stderr
"""

import io
import sys

import numpy as np
from scipy.io import loadmat, matlab

from qdebias.inputs.datasets.readers import DAMAGED

NEWER = "is a MATLAB 7.3 file; save it with -v7, or as CSV"


def read(path: str, variable: str) -> bytes | str:
    """Return the variable as .npy, cells as their texts; or why there is none."""
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

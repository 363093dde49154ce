"""Whether something is there, asked of names that the operating system may refuse, such as one of 5,000 letters."""

import os


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether a file or folder can be reached; false also where its name is refused."""
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises where the name is refused)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder can be reached; false also where its name is refused."""
    return os.path.isdir(path)  # noqa: PTH112 (Path.is_dir raises where the name is refused)

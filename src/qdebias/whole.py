"""Files that are replaced as a whole: readers, crashes and full disks see the old one or the new one, never a part."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text file, in the place of an older one if there is one.

    Raises:
        OSError: The system refuses; the older file is as it was.
    """
    if path.exists() and not path.is_file():  # a pipe, /dev/stdout
        path.write_text(text, encoding="utf-8")
        return
    path = path.resolve()  # a link stays one
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

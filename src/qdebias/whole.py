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
    put_in_place(path, text.encode(), by=path.with_name(f"{path.name}.partial"))


def put_in_place(path: Path, data: bytes, *, by: Path) -> None:
    """Write a file under another name on the same disk, and rename it.

    Args:
        path: The file.
        data: What it is to hold.
        by: The other name; no two that write at a time may have the same.

    Raises:
        OSError: The system refuses; an older file is as it was.
    """
    try:
        with by.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        by.replace(path)
    finally:
        by.unlink(missing_ok=True)

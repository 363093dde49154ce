"""Disks that are really full, and folders that really cannot be written."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reference_data import skip_absent


def mount(*arguments: object) -> None:
    """Mount a file system, or skip the test where that is not allowed; as root in continuous integration, fail."""
    if subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False).returncode:
        (skip_absent if os.geteuid() == 0 else pytest.skip)("file systems cannot be mounted here (CAP_SYS_ADMIN)")


def grow(folder: Path) -> None:
    """Give a small disk space."""
    mount("-o", "remount,size=16m", folder)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Put a disk of so many KiB instead of a folder, which is made."""
    folder.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}k", "tmpfs", folder)
    try:
        yield
    finally:
        _unmount(folder)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write a folder meanwhile, root included."""
    mount("--bind", folder, folder)
    try:
        mount("-o", "remount,bind,ro", folder)
        yield
    finally:
        _unmount(folder)


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)

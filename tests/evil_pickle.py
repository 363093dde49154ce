"""A pickle that does something when it is read without care."""

from pathlib import Path


class Evil:
    """Unpickling it writes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[Path, str]]:
        return Path.write_text, (self.trace, "this was run")

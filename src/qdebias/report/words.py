"""Names of the code as words for readers."""

import re


def words(kind: str) -> str:
    """Return "zoom blur" for "ZoomBlur"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", kind).lower()

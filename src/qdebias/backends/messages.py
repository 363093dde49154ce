"""Quoting other libraries in a message of one line."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, or its type if it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__

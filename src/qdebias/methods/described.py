"""A method as lines of text for a reader: its questions in full, and every setting."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from qdebias.prompts import Question


def described(method: object) -> Iterator[str]:
    """Yield one line a setting of a method that is in use, questions in full and what it stands on indented."""
    if not is_dataclass(method):
        yield repr(method)
        return
    for field in fields(method):
        value = getattr(method, field.name)
        if value or value != field.default:
            yield from _describe_value(field.name, value)


def _describe_value(name: str, value: object) -> Iterator[str]:
    if isinstance(value, Question):
        yield f"{name}:"
        yield f"  user: {value.text}"
        yield f"  assistant: {value.answer_prefix}[{' | '.join(map(repr, value.options))}]"
        yield f"  values: {', '.join(map(str, value.values))}"
    elif isinstance(value, tuple):
        yield f"{name}:" if value else f"{name}: none"
        for item in value:
            if isinstance(item, Question):
                yield from (f"  {line}" for line in _describe_value("question", item))
            elif hasattr(item, "plan"):
                yield from (f"  {line}" for line in _describe_value("method", item))
            else:
                yield f"  {item}"
    elif hasattr(value, "plan"):
        yield f"{name}:"
        yield from (f"  {line}" for line in described(value))
    else:
        yield f"{name}: {getattr(value, '__name__', value)}"

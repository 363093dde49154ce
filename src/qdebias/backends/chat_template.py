"""Chat templates with everything that they could take from outside fixed: arguments, and the clock."""

import re
from collections.abc import Mapping

from jinja2 import Environment, TemplateSyntaxError

from qdebias.backends.prompt import PRESETS, Argument
from qdebias.errors import BackendError, SettingError

_CLOCK = {
    "%Y": "2025", "%y": "25", "%m": "01", "%d": "01", "%j": "001", "%B": "January", "%b": "Jan", "%A": "Wednesday",
    "%a": "Wed", "%H": "00", "%I": "12", "%M": "00", "%S": "00", "%p": "AM", "%F": "2025-01-01", "%T": "00:00:00",
    "%-d": "1", "%-m": "1", "%e": " 1",
}  # fmt: skip
"""The first second of 2025, by the directives of strftime."""


def fixed(template: str, arguments: Mapping[str, Argument] | None = None) -> tuple[str, dict[str, Argument]]:
    """Return a chat template that renders the same on every day, and the arguments that are written into it.

    Args:
        template: In Jinja, as it comes with a model.
        arguments: By name; they come before `PRESETS`, which count where the template reads them.

    Raises:
        SettingError: The template does not read an argument.
        BackendError: The template is no Jinja, or draws at random.
    """
    given, names = dict(arguments or {}), _names(template)
    for name in given:
        if name not in names or not name.isidentifier():
            raise SettingError(f"the chat template of this model reads no argument {name!r}; leave it out")
    if re.search(r"\|\s*random\b|\blipsum\s*\(", template):
        raise BackendError("the chat template of this model draws at random; use another chat template")
    chosen = {name: value for name, value in PRESETS.items() if name in names} | given
    lines = [f"{{%- set {name} = {_literal(value)} %}}\n" for name, value in sorted(chosen.items())]
    if "strftime_now" in names:
        lines.append(_clock())
    return "".join(lines) + template, chosen


def _clock() -> str:
    """Return a macro that takes the place of the function by which templates read the clock."""
    replaced = "".join(f"|replace({directive!r}, {text!r})" for directive, text in _CLOCK.items())
    return f"{{%- macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}\n"


def _names(template: str) -> set[str]:
    try:
        return {value for _, kind, value in Environment(autoescape=False).lex(template) if kind == "name"}  # noqa: S701
    except TemplateSyntaxError as error:
        raise BackendError(f"the chat template of this model is damaged ({error}); obtain it again") from error


def _literal(value: Argument) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)

"""Documentation page with every command and option, and the index that completion and `--help` read.

MkDocs generates the page when it builds the site. `python tools/commands.py` writes the index,
`src/qdebias/cli/completion.json`; a test fails if it is out of date.
"""

import inspect
import json
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from qdebias.backends.catalogue import KNOWN_MODELS
from qdebias.cli.app import COMMANDS, GROUPS, INDEX, command_of, index_of, loaded
from qdebias.inputs.datasets import CATALOGUE
from qdebias.methods.parts import ASPECTS, PARTS
from qdebias.methods.presets import RECIPES

ROOT = Path(__file__).resolve().parent.parent

HEAD = """# Every command and option

Generated from the output of `qdebias help COMMAND`. [Command line](commands.md) describes what all commands have in
common.
"""

FUNCTIONS = {name: loaded(name) for name in COMMANDS}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page to the site; MkDocs calls this."""
    files.append(File.generated(config, "options.md", content=page()))
    return files


def page() -> str:
    """Return the page as Markdown."""
    sections = [HEAD]
    for group, commands in GROUPS.items():
        sections.append(f"## {group}\n")
        sections += [_section(name, command_of(name, *FUNCTIONS[name])) for name in commands]
    return "\n".join(sections)


def index() -> str:
    """Return the index as JSON: help and parameters of each command, and the names that values may have."""
    names = {
        "methods": [*RECIPES],
        "parts": [*PARTS],
        "models": [model.name for model in KNOWN_MODELS],
        "datasets": [*CATALOGUE],
        "aspects": [*ASPECTS],
    }
    commands = {name: index_of(*function) for name, function in FUNCTIONS.items()}
    lines = (f' "{name}": {json.dumps(params)}' for name, params in commands.items())
    return f'{{"names": {json.dumps(names)},\n"commands": {{\n' + ",\n".join(lines) + "\n}}\n"


def _section(name: str, command: Any) -> str:  # noqa: ANN401  (typer's own kind)
    context = typer.Context(command, info_name=f"qdebias {name}")
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    records = filter(None, (param.get_help_record(context) for param in command.params))
    rows = "".join(f"| `{_cell(names)}` | {_cell(text).replace('<', '&lt;')} |\n" for names, text in records)
    return f"### {name}\n\n```text\n{usage}\n```\n\n{inspect.cleandoc(command.help)}\n\n| | |\n| --- | --- |\n{rows}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


if __name__ == "__main__":
    (ROOT / "src" / "qdebias" / "cli" / INDEX).write_text(index(), encoding="utf-8")

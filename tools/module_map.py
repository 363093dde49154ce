"""Documentation page that lists every module with its content and the parts of the package that it imports.

MkDocs generates it when it builds the site. `python tools/module_map.py` prints it.
"""

import ast
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

SOURCE = Path(__file__).resolve().parent.parent / "src" / "qdebias"

HEAD = """# Module map

Generated from the code. Parts form [layers](architecture.md#layers); a module imports only from its own part
or from layers below.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page to the site; MkDocs calls this."""
    files.append(File.generated(config, "modules.md", content=page()))
    return files


def page() -> str:
    """Return the page as Markdown."""
    sections = [HEAD]
    for part, modules in groupby(sorted(SOURCE.rglob("*.py"), key=_place), key=_part):
        sections.append(f"## {part}\n\n| module | content | imports |\n| --- | --- | --- |")
        sections[-1] += "".join(f"\n{_row(path)}" for path in modules) + "\n"
    return "\n".join(sections)


def _place(path: Path) -> tuple[str, str]:
    return _part(path), str(path.relative_to(SOURCE))


def _part(path: Path) -> str:
    """Return the name right below the package: "degrade" of degrade/fog.py."""
    name = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "qdebias" if name == "__init__" else name


def _row(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    about = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    others = sorted({*_imported(tree)} - {_part(path), "qdebias"})
    name = path.relative_to(SOURCE).as_posix().removesuffix("/__init__.py")
    return f"| `{name}` | {about} | {', '.join(others)} |"


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yield the parts of qdebias that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            top = node.module == "qdebias"
            names = [f"qdebias.{alias.name}" for alias in node.names] if top else [node.module]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("qdebias."))


if __name__ == "__main__":
    print(page(), end="")

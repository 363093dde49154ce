"""The layers of docs/architecture.md: a module imports from its own group or from layers below."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "qdebias"

LAYERS = (
    "errors",
    "client",
    "equations",
    "system",
    "image",
    "prompts",
    "degrade",
    "metrics",
    "backends",
    "methods",
    "inputs",
    "runs",
    "evaluation",
    "curation",
    "report",
    "integrations",
    "service",
    "cli",
    "__main__",
)
RANK = {name: rank for rank, name in enumerate(LAYERS)}
INDEPENDENT = {"backends": {"method"}, "method": {"backends"}}

MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def part_of(module: str) -> str:
    """Return the name right below the package: "degrade" of "qdebias.degrade.fog"."""
    return module.split(".")[1] if module.count(".") else ""


def imports_of(path: Path) -> set[str]:
    """Return the parts of qdebias that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "qdebias" else {node.module}
            )
    return {part_of(name) for name in names if name.split(".")[0] == "qdebias"} - {"", "__version__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert own in RANK, f"{own} stands in no layer; add it where it belongs"
    for other in imports_of(path) - {own}:
        assert RANK[other] <= RANK[own], f"{own} imports {other}, which lies above it"
        assert other not in INDEPENDENT.get(own, ()), f"{own} must not know {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


def test_import_loads_nothing_heavy_and_changes_no_global() -> None:
    program = """
import logging, os, random, sys, warnings
before = (logging.root.level, list(logging.root.handlers), dict(os.environ), random.getstate(), list(warnings.filters))
import qdebias
after = (logging.root.level, list(logging.root.handlers), dict(os.environ), random.getstate(), list(warnings.filters))
assert before == after
heavy = {"torch", "transformers", "ray", "fastapi", "gradio", "vllm", "numba", "cv2", "matplotlib", "pyarrow", "typer"}
print(sorted(heavy & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


def test_public_names_are_all_importable() -> None:
    import qdebias

    for name in qdebias.__all__:
        assert getattr(qdebias, name) is not None
    assert set(qdebias.__all__) <= set(dir(qdebias))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = qdebias.nonsense

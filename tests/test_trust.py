"""No code comes out of data: no pickles, no `eval`, no shell, no code of checkpoints. Seen in every file's syntax."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from reference_data import ROOT

FOLDERS = ("src", "tools", "training", "benchmarks", "examples")

NEVER = {
    *("eval", "exec", "compile", "__import__"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open"),
    *("dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads", "joblib.load", "pandas.read_pickle"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.jit.load", "torch.hub.load"),
    *("os.system", "os.popen", "tempfile.mktemp"),
}

ONLY_WITH = {"torch.load": ("weights_only", True)}
"""Calls that have to say this in so many words."""

ONLY_AS = {"trust_remote_code": False, "allow_pickle": False, "shell": False}
"""Arguments that may have no other value, whatever is called."""

IMPORTS_WHAT_IT_IS_TOLD = "src/qdebias/system/named.py"
"""Where "package.module:name" becomes an object."""

LOOKS_UP = {
    "src/qdebias/__init__.py",
    "src/qdebias/cli/app.py",
    "src/qdebias/image/decoding.py",
}
"""Import by a literal table: parts of this package, plugins of Pillow."""

OWN_PIPE = "src/qdebias/service/background.py"
"""Exchanges pickles with its own child, which draws and correlates, and decodes nothing of anybody's."""


def faults(code: str) -> Iterator[str]:
    """Yield what a file does that is forbidden, with its line."""
    tree = ast.parse(code)
    names = _imported(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func, names)
        said = {word.arg: word.value for word in node.keywords}
        if name in NEVER:
            yield f"{node.lineno}: {name}"
        if name in ONLY_WITH and not _is(said.get(ONLY_WITH[name][0]), ONLY_WITH[name][1]):
            yield f"{node.lineno}: {name} without {ONLY_WITH[name][0]}"
        for word, value in ONLY_AS.items():
            if word in said and not _is(said[word], value):
                yield f"{node.lineno}: {word}"


def _imported(tree: ast.Module) -> dict[str, str]:
    """Return what each imported name stands for: "np" for "numpy", "load" for "torch.load"."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def files() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_file_runs_what_it_reads() -> None:
    read = [path for path in files() if path.relative_to(ROOT).as_posix() != OWN_PIPE]
    found = [f"{path.relative_to(ROOT)}:{fault}" for path in read for fault in faults(path.read_text())]
    own = faults((ROOT / OWN_PIPE).read_text())
    assert sorted(fault.split(": ")[1] for fault in own) == ["pickle.load", "pickle.load"]
    assert not found
    assert len(files()) > 200


def test_one_module_imports_what_it_is_told() -> None:
    users = {path.relative_to(ROOT).as_posix() for path in files() if _imports_by_variable(path.read_text())}
    assert users == {IMPORTS_WHAT_IT_IS_TOLD, *LOOKS_UP}


def _imports_by_variable(code: str) -> bool:
    tree = ast.parse(code)
    names = _imported(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = [node for node in calls if _dotted(node.func, names) == "importlib.import_module"]
    return any(not isinstance(node.args[0], ast.Constant) for node in found)


@pytest.mark.parametrize(
    "code",
    [
        "eval(x)",
        "import pickle\npickle.loads(x)",
        "from pickle import Unpickler as U\nU(x)",
        "import torch\ntorch.load(x)",
        "import torch\ntorch.load(x, weights_only=flag)",
        "from torch import load\nload(x, weights_only=False)",
        "import numpy as np\nnp.load(x, allow_pickle=True)",
        "Auto.from_pretrained(x, trust_remote_code=True)",
        "Auto.from_pretrained(x, trust_remote_code=trust)",
        "import yaml as y\ny.load(x)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "import os\nos.system(x)",
    ],
)
def test_a_fault_is_found(code: str) -> None:
    assert len(list(faults(code))) == 1


@pytest.mark.parametrize(
    "code", ["model.eval()", "re.compile(x)", "import torch\ntorch.load(x, weights_only=True)", "yaml.safe_load(x)"]
)
def test_what_is_harmless_is_not(code: str) -> None:
    assert not list(faults(code))

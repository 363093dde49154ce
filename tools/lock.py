"""Writes `.ci/constraints.txt`, the versions that `make setup` installs; `make lock` runs it.

pip itself chooses the versions, the newest that pyproject.toml and `.ci/tools.txt` allow, and installs nothing.
"""

import json
import platform
import subprocess
import sys
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / ".ci" / "constraints.txt"
WANTED = (".[dev]", "--requirement", ".ci/tools.txt")

HEAD = """# Written by `make lock`, with Python {python} on {system}: the versions that `make setup` installs.
# Users get the ranges of pyproject.toml. No hashes: pip wants one for every file or none, and neither the project's own
# folder nor a build of torch that a machine keeps for itself, like 2.13.0+cpu, has one that could be known here.
"""


def chosen() -> dict[str, str]:
    """Return the version of each package that an empty environment would get now, by its name."""
    command = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", *WANTED]
    ran = subprocess.run([sys.executable, "-m", "pip", *command], cwd=ROOT, stdout=subprocess.PIPE, check=True)  # noqa: S603
    found = (one["metadata"] for one in json.loads(ran.stdout)["install"])
    return {canonicalize_name(one["name"]): Version(one["version"]).public for one in found}


def page(versions: dict[str, str]) -> str:
    """Return the file; a version without its local part, like +cpu, fits every build of it."""
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items()) if name != "qdebias"]
    return HEAD.format(python=platform.python_version(), system=platform.system()) + "".join(lines)


if __name__ == "__main__":
    FILE.write_text(page(chosen()), encoding="utf-8")

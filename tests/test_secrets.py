"""No password, key or token is in the repository."""

import subprocess
from pathlib import Path

import pytest
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings, get_settings

from reference_data import ROOT

DATA = ("tests/golden/", "src/qdebias/backends/nano/checkpoint", ".ci/constraints.txt")
"""Digests, words and versions, made by programs."""

HARMLESS = {
    ("examples/tour.ipynb", "Base64 High Entropy String"),  # the pictures that the cells show
    ("src/qdebias/service/schema.py", "Base64 High Entropy String"),  # a picture
    ("tests/conftest.py", "Secret Keyword"),  # "nothing", of the server that the tests start
    ("tests/service/test_fetch.py", "Basic Auth Credentials"),  # addresses that have to be refused
    ("tests/test_openai_http.py", "Basic Auth Credentials"),
    ("tests/test_names_and_rows.py", "Basic Auth Credentials"),  # an address that has to lose them
    ("tests/test_output.py", "Basic Auth Credentials"),
    ("tests/test_inputs_addresses.py", "Hex High Entropy String"),  # a signature that has to get lost
}


def secrets(folder: Path, names: list[str]) -> set[tuple[str, str]]:
    """Return the files of a folder in which something looks like a secret, with what it looks like; asks no server."""
    with default_settings():
        assert not [name for name in get_settings().filters if "verification" in name]
        found = SecretsCollection(root=str(folder))
        for name in names:
            found.scan_file(name)
    return {(name, secret.type) for name, secret in found}


def test_no_file_of_the_repository_holds_a_secret() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.split("\0") if name and not name.startswith(DATA)]
    assert len(names) > 300
    assert secrets(ROOT, names) == HARMLESS


@pytest.mark.parametrize(
    "line",
    [
        "key = 'AKIA" + "IOSFODNN7EXAMPLE'",
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "token: ghp_" + "a1B2c3" * 6,
        "pass" + "word = 'correct-horse-battery'",
        "https://someone:" + "hunter22@example.org/",
    ],
)
def test_a_secret_is_found(line: str, tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(f"{line}\n")
    assert secrets(tmp_path, ["file.py"])

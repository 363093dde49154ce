"""Checkpoint folders, local or fetched from the hub: their files and their hashes. No torch here."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdebias.errors import BackendError, SettingError
from qdebias.system.output import write_file

SMALL = 64 << 20  # smaller files are hashed anew each time
SETTLED = 2_000_000_000  # ns after which a further change of a file shows in its times, on any file system

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""Files of weights; the second, pickles, are fetched and read only where there is none of the first."""

WANTED = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", WEIGHTS[0])  # what is fetched of a hub repository
UNWANTED = ("*/*", "consolidated*")  # what is not: folders, and the same weights again in Mistral's own format
CONFIGURATION_FILES = (
    "config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "tekken.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
"""Files that decide what the model is shown; with the weights they are what a checkpoint is."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in 64 hex digits; that of a large file that is unchanged comes from a note."""
    state = path.stat()
    if state.st_size < SMALL:
        return _read(path)
    note = _note(path, state)
    with suppress(OSError, ValueError):
        known = note.read_text(encoding="ascii") if note else ""
        if len(known) == 64:
            return known
    began = time.time_ns()
    digest = _read(path)
    changed = max(state.st_mtime_ns, state.st_ctime_ns)
    if note is not None and began - changed > SETTLED and _note(path, path.stat()) == note:
        with suppress(OSError):
            write_file(note, digest)  # as a whole or not at all: others may be reading
    return digest


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _note(path: Path, state: os.stat_result) -> Path | None:
    """Return where the hash of a file in this state is noted; None if the cache folder cannot be made."""
    from huggingface_hub import cached_assets_path

    said = (str(path.resolve()), state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
    try:
        return cached_assets_path("qdebias", "weights", "sha256") / hashlib.sha256(repr(said).encode()).hexdigest()
    except (OSError, ValueError):  # ValueError: a file stands in its place
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint folder and its name."""

    folder: Path
    name: str  # the folder's name, or the hub id: no path of this machine, so that fingerprints can be compared
    revision: str = ""  # the commit of the hub repository; empty for a local folder

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the object in one of the folder's JSON files; empty if there is no such file."""
        path = self.folder / name
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BackendError(f"{path}: cannot be read as JSON ({error}); download the file again") from error
        if not isinstance(content, dict):
            raise BackendError(f"{path}: holds no JSON object; download the file again")
        return content

    def digests(self) -> dict[str, str]:
        """Return the hashes of the configuration and of the weights, which are safetensors, or else pickles."""
        present = [self.folder / name for name in CONFIGURATION_FILES if (self.folder / name).is_file()]
        weights = (sorted(path for path in self.folder.glob(pattern) if path.is_file()) for pattern in WEIGHTS)
        paths = next(filter(None, weights), [])
        with ThreadPoolExecutor(max_workers=4) as pool:
            hashes = list(pool.map(sha256_of, paths))
        held = {
            "configuration": [(path.name, path.read_bytes()) for path in present],
            "weights": [(path.name, sha256.encode()) for path, sha256 in zip(paths, hashes, strict=True)],
        }
        found = {}
        for label, files in held.items():
            total = hashlib.blake2b(digest_size=16)
            for name, content in files:
                total.update(f"{name} {len(content)}\n".encode())
                total.update(content)
            found[label] = total.hexdigest()
        return found


def locate(source: str | Path, revision: str | None = None) -> Checkpoint:
    """Return the folder of a checkpoint; a hub id is fetched, unless it was before."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise SettingError(f"{source}: revision {revision!r} was given, but a folder has none; leave it out")
        return Checkpoint(folder=folder, name=folder.resolve().name)
    if folder.exists():
        raise BackendError(f"{source}: is a file; a checkpoint is a folder with config.json and weights")
    if str(source).startswith((".", "/", "~")) or str(source).count("/") > 1:
        raise BackendError(f"{source}: no such folder")
    return _fetch(str(source), revision)


def _fetch(repository: str, revision: str | None) -> Checkpoint:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.file_download import repo_folder_name

    def snapshot(revision: str | None, wanted: Sequence[str]) -> Path:
        found = snapshot_download(
            repository, revision=revision, allow_patterns=list(wanted), ignore_patterns=list(UNWANTED)
        )
        return Path(found)

    try:
        path = snapshot(revision, WANTED)
        if not any(path.glob(WEIGHTS[0])):
            path = snapshot(path.name, WEIGHTS[1:])
    except (ValueError, OSError) as error:
        cache = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repository, repo_type="model"))
        held = ", ".join(map(str, sorted(cache.glob("sn*/*"))))
        there = f" ({held} is here, but its refs do not name it)" if held else ""
        reasons = {  # the first that fits
            GatedRepoError: "its owners ask you to accept their terms on the hub first; then run `hf auth login`",
            RevisionNotFoundError: f"the hub has no revision {revision!r} of it",
            RepositoryNotFoundError: "neither a folder nor a repository of the hub; check the name",
            HfHubHTTPError: f"the hub refused ({error}); try again later",
            ValueError: "neither a folder nor a hub id of the form owner/name",
            OSError: "is not on this machine and the hub cannot be reached; connect to the network, or copy the "
            f"checkpoint here and give its folder{there}",
        }
        reason = next(words for kind, words in reasons.items() if isinstance(error, kind))
        raise BackendError(f"{repository}: {reason}") from error
    return Checkpoint(folder=path, name=repository, revision=path.name)

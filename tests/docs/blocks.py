"""The fenced blocks of the documentation, and what is said of those that do not run."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples" / "plugin" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
)

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NOT_RUN = re.compile(r"<!-- not run: (.+) -->\n$")
RUN_BY = re.compile(r"<!-- run by (.+) -->\n$")
COMMENT = re.compile(r"(^|\s)#.*")
SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes:
        page: The file it stands in.
        line: Where it begins, from 1.
        language: What stands behind the fence.
        text: What it holds, with included files in their place.
        not_run: Why it cannot run here; empty: it is run.
        run_by: The test that runs it in place of this one, if any.
    """

    page: Path
    line: int
    language: str
    text: str
    not_run: str = ""
    run_by: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        before = text[: found.start()]
        reason, elsewhere = NOT_RUN.search(before), RUN_BY.search(before)
        yield Block(
            page=page,
            line=before.count("\n") + 1,
            language=found[1],
            text=SNIPPET.sub(lambda one: (ROOT / one[1]).read_text(encoding="utf-8"), found[2]),
            not_run=reason[1] if reason else "",
            run_by=elsewhere[1] if elsewhere else "",
        )


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of a shell block.

    Attributes:
        words: The program and its arguments.
        out: The file that its output goes to, if it is redirected.
    """

    words: tuple[str, ...]
    out: str = ""


def commands_of(text: str) -> Iterator[Command]:
    """Yield the commands of a shell block: one a line or between semicolons, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        reader = shlex.shlex(COMMENT.sub("", line), posix=True, punctuation_chars=";>")
        reader.commenters, reader.whitespace_split = "", True
        for ends, group in groupby(reader, key=lambda word: word == ";"):
            if not ends:
                part = tuple(group)
                cut = part.index(">") if ">" in part else len(part)
                yield Command(words=part[:cut], out=part[cut + 1] if cut < len(part) else "")

"""Odd names, and what is no file although it is named like an image."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from corpus.case import Case
from corpus.pictures import encoded

NAMES = {
    "newline": b"two\nlines.png",
    "return": b"carriage\rreturn.png",
    "tab": b"tab\tbed.png",
    "bell": b"\x07\x08\x7f.png",
    "escape": b"\x1b[31mred\x1b[0m\x1b]0;title\x07.png",
    "single quote": b"it's.png",
    "double quote": b'say "cheese".png',
    "backslash": b"back\\slash\\n.png",
    "spaces": b"  spaces  .png",
    "only a suffix": b"x.png.png.png",
    "leading dash": b"-rf.png",
    "option": b"--model=fake.png",
    "pattern": b"[a-z]*?.png",
    "percent": b"%s%n%x%00.png",
    "braces": b"{0}{name}.png",
    "dollar": b"$(touch pwned)`id`;|&.png",
    "formula": b'=HYPERLINK("x").png',
    "formula plus": b"+1+1.png",
    "formula at": b"@SUM(A1).png",
    "comma": b"a,b;c.png",
    "markup": b"<b>&amp;.png",
    "rich markup": b"[bold red]x[/bold red].png",
    "hash": b"a#b?c.png",
    "tilde": b"~root.png",
    "colon": b"C:nul:.png",
    "address": b"http:example.png",
    "umlaut": "größe.png".encode(),
    "combining": "e\u0301.png".encode(),
    "chinese": "\u5716\u50cf.png".encode(),
    "emoji": "\U0001f469\u200d\U0001f52c.png".encode(),
    "right to left": "\u202egnp.exe\u202c.png".encode(),
    "hebrew": "\u05ea\u05de\u05d5\u05e0\u05d4.png".encode(),
    "zero width": "a\u200bb\ufeff.png".encode(),
    "line separator": "a\u2028b\u2029c\u0085.png".encode(),
    "not utf-8": b"\xff\xfe\x80.png",
    "half a letter": b"\xc3.png",
    "surrogate": b"\xed\xa0\x80.png",
    "latin": b"gr\xf6\xdfe.png",
    "longest": b"n" * 251 + b".png",
    "longest umlauts": "ü".encode() * 125 + b".png",
    "dots": b"....png",
    "reserved": b"CON.png",
}


def name_cases() -> Iterator[Case]:
    """Yield sound images under every odd name: all of them are scored."""
    data = encoded("PNG")
    for name in NAMES.values():
        yield Case(kind="name", name=b"name/" + name, make=lambda path: path.write_bytes(data))


def path_cases() -> Iterator[Case]:
    """Yield links, pipes, devices, folders and others that are no file, or lead to one."""
    data = encoded("PNG")

    def case(name: str, make: object, error: str | None) -> Case:
        return Case(kind="path", name=f"path/{name}".encode(), make=make, error=error)  # type: ignore[arg-type]

    no_file = "is not a file; name an image file"
    yield case("sound.png", lambda path: path.write_bytes(data), None)
    yield case("link.png", lambda path: path.symlink_to("sound.png"), None)
    yield case("hard.png", lambda path: path.hardlink_to(path.with_name("sound.png")), None)
    yield case("read-only.png", lambda path: (path.write_bytes(data), path.chmod(0o444)), None)
    yield case("loop.png", lambda path: path.symlink_to("loop.png"), "symbolic")
    yield case("loop-a.png", lambda path: path.symlink_to("loop-b.png"), "symbolic")
    yield case("loop-b.png", lambda path: path.symlink_to("loop-a.png"), "symbolic")
    yield case("dangling.png", lambda path: path.symlink_to("gone.png"), "no such file")
    yield case("pipe.png", lambda path: os.mkfifo(path), no_file)
    yield case("socket.png", _bind, no_file)
    yield case("null.png", lambda path: path.symlink_to("/dev/null"), no_file)
    yield case("zero.png", lambda path: path.symlink_to("/dev/zero"), no_file)
    yield case("random.png", lambda path: path.symlink_to("/dev/urandom"), no_file)
    yield case("memory.png", lambda path: path.symlink_to("/proc/self/mem"), "cannot be read .Input/output error")
    yield case("events.png", lambda path: path.symlink_to("/proc/self/environ"), "is not an image")
    yield case("sparse.png", lambda path: _sparse(path, 1 << 40), "is not an image")
    yield case("sparse-tail.png", lambda path: (path.write_bytes(data), os.truncate(path, 1 << 36)), None)


def _bind(path: Path) -> None:
    """Make a socket; its address has to be short, so the name is given from within its folder."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _sparse(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


def absent_paths(folder: Path) -> dict[str, str]:
    """Return paths that can only be named, and the pattern of their error."""
    return {
        str(folder / "gone.png"): "no such file",
        str(folder / "sound.png" / "below.png"): "no such file|Not a directory",
        str(folder / ("x" * 300 + ".png")): "File name too long",
        str(folder / "/".join(["deep"] * 1000) / "x.png"): "no such file|too long",
        str(folder / ("y" * 5000 + ".png")): "File name too long",
        str(folder) + "/" + "../path/" * 600 + "sound.png": "File name too long",
    }

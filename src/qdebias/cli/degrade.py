"""`qdebias degrade`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from qdebias.cli.console import ImageColumn, Megapixels, MethodName, Paths, Seed, one_line, say, user_errors
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.runs import say_left_out
from qdebias.errors import ImageError, SettingError
from qdebias.image import load_image
from qdebias.inputs import find_inputs
from qdebias.methods import presets
from qdebias.methods.method import Condition, Context
from qdebias.system.output import replacing


def degrade(
    paths: Paths,
    out: Annotated[Path, typer.Option(help="Folder for the pictures; made where it is missing.")] = Path("degraded"),
    method: MethodName = "paper",
    seed: Seed = 0,
    max_megapixels: Megapixels = 50.0,
    column: ImageColumn = None,
) -> None:
    """Write the degraded copies that a method shows the model, as PNG: the very pixels that `score` uses."""
    with user_errors():
        chosen = presets.get(method).method
        inputs = find_inputs(paths, column=column)
        say_left_out(inputs.images)
        _check_names(inputs.paths)
        refuse_inputs(inputs.paths, out=_present(inputs.paths, out))
        errors = [failure.error for failure in inputs.failures]
        written = 0
        for path in inputs.paths:
            try:
                image = load_image(path, max_pixels=round(max_megapixels * 1e6))
                conditions = chosen.plan(image, Context(seed=seed)).conditions
            except ImageError as error:
                errors.append(str(error))
                continue
            if not conditions:
                raise SettingError(f"method {method!r} degrades nothing; choose one such as paper or released")
            written += _write(conditions, path, out)
        for message in errors:
            say(f"failed: {one_line(message)}", style="red")
        say(f"{written} pictures written to {out}")
    raise typer.Exit(1 if errors else 0)


def _present(paths: tuple[Path, ...], out: Path) -> list[Path]:
    """Return the pictures of an earlier time that would be replaced."""
    heads = {f"{path.name}." for path in paths}
    found = ((one, [dot.end() for dot in re.finditer(r"\.", one.name)]) for one in out.glob("*.png"))
    return [one for one, ends in found if any(one.name[:end] in heads for end in ends)]


def _check_names(paths: tuple[Path, ...]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        other = seen.setdefault(path.name, path)
        if other != path:
            raise SettingError(f"{other} and {path} would get the same name in one folder; degrade them one by one")


def _numbered(kinds: Sequence[str]) -> list[str]:
    """Return the kinds, the second of a kind with a 2 behind it, and so on."""
    seen = [kinds[:place].count(kind) + 1 for place, kind in enumerate(kinds)]
    return [kind if count == 1 else f"{kind}-{count}" for kind, count in zip(kinds, seen, strict=True)]


def _write(conditions: tuple[Condition, ...], path: Path, out: Path) -> int:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for kind, condition in zip(_numbered([one.kind for one in conditions]), conditions, strict=True):
            target = out / f"{path.name}.{kind}.png"
            with replacing(target) as file:
                Image.fromarray(condition.image).save(file, "PNG")
            typer.echo(str(target))
    except OSError as error:
        raise SettingError(f"{out}: cannot be written ({error.strerror or error})") from error
    return len(conditions)

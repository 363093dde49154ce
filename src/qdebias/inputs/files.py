"""Images that are files here, for the commands that show or compare a few of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qdebias.errors import SettingError
from qdebias.inputs.images import Images, open_images
from qdebias.inputs.items import Unreadable
from qdebias.methods.plan import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The images of a command.

    Attributes:
        paths: Each image once, in the order in which it was named; within a folder sorted by path.
        images: What was named, as it is streamed.
        failures: What was named and holds no image, or could not be looked into.
    """

    paths: tuple[Path, ...]
    images: Images
    failures: tuple[Failure, ...]


def find_inputs(arguments: Sequence[str], *, column: str | None = None) -> Inputs:
    """Return the images that are meant by paths of files, folders, patterns such as "*.jpg", and lists of them.

    A named file that does not exist stays among them, so that it fails with a row of its own like any other bad image.

    Raises:
        SettingError: Nothing at all was found, or something that is no file of its own.
    """
    paths: list[Path] = []
    failures: list[Failure] = []
    images = open_images(arguments, column=column)
    for image in images:
        if isinstance(image, Path):
            paths.append(image)
        elif isinstance(image, Unreadable):
            failures.append(Failure(name=image.name, error=image.error))
        else:
            raise SettingError(
                f"{image.name}: is no file of its own; only `score` and `check` take shards and addresses"
            )
    return Inputs(paths=tuple(paths), images=images, failures=tuple(failures))

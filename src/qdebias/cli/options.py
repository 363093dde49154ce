"""Options that several commands have: each is written once, and a command names the object that they become.

`options: Scoring` in a command's signature stands for --model, --method, --batch and the others of `Scoring`; the
command is called with one `qdebias.runs.options.Options`. Likewise `labels: LabelOptions`.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast, get_type_hints

import typer

from qdebias.backends.load import pairs_of, with_arguments
from qdebias.errors import SettingError
from qdebias.image import MIN_SIDE
from qdebias.inputs import Images
from qdebias.inputs.addresses import true_name
from qdebias.inputs.datasets import Dataset, load_dataset
from qdebias.inputs.folders import kind_of
from qdebias.inputs.items import NamedImages
from qdebias.inputs.tables import is_dataset
from qdebias.methods import presets
from qdebias.methods.parts import ASPECTS
from qdebias.metrics.mos import Direction
from qdebias.runs.options import Options
from qdebias.runs.records import check_suffix
from qdebias.system.named import nearest

ImageColumn = Annotated[
    str | None,
    typer.Option(help="Column of images in tables. Default: image, path, url or file_name."),
]
Paths = Annotated[
    list[str],
    typer.Argument(help='Image files, folders (searched recursively) or patterns in quotes such as "photos/*.jpg".'),
]
MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        "-k",
        help="The method; see `qdebias methods`. Add parts with a plus: paper+levels5+logodds. Your own: "
        "package.module:name, or a .toml file. Other degradations: paper@fog,package.module:name.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the random degradations; same seed, same scores.")]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        help="Keep every answer of the model in this folder: the same command resumes where it stopped, "
        "and another method asks only what is missing.",
    ),
]
Megapixels = Annotated[float, typer.Option(min=0.001, help="Refuse larger images, before they are decoded.")]
Resamples = Annotated[int, typer.Option(min=0, help="Bootstrap resamples of the 95 % intervals; 0: none.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only this many images, from the start.")]
Rows = Annotated[Path | None, typer.Option("--out", help="Also write the rows to this .csv, .jsonl or .parquet.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print JSON Lines, one object per image.")]
JsonObject = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
DatasetName = Annotated[
    str,
    typer.Argument(help="A dataset by name, see `qdebias datasets`, or a label file: columns img_path and gt_score."),
]


def _option(kind: Any, text: str, *names: str, default: object = None, **settings: Any) -> tuple[Any, object]:  # noqa: ANN401
    return Annotated[kind, typer.Option(*names, help=text, **settings)], default


_OPTIONS: Mapping[str, tuple[Any, object]] = {
    "model": _option(str, "The model: `nano` is embedded; see `qdebias models`.", "--model", "-m", default="nano"),
    "method": (MethodName, "paper"),
    "aspect": _option(
        str | None,
        f"Ask about this instead of overall quality: {', '.join(ASPECTS)}. Short for +ASPECT after the method.",
    ),
    "fit": _option(
        Path | None, "Score with a fit to your own labels, a file of `qdebias fit`: short for `--method FILE`."
    ),
    "batch": _option(int, "Images per batch.", min=1, default=8),
    "seed": (Seed, 0),
    "device": _option(str | None, "Where the model runs: cpu, cuda, cuda:1, mps. Default: the best available."),
    "dtype": _option(
        str | None,
        "Numeric type of the weights: float32, bfloat16, float16, or auto. Default: auto, on a GPU the checkpoint's "
        "own; on a CPU with units for it bfloat16 if that is the checkpoint's own, else float32.",
    ),
    "max_megapixels": (Megapixels, 50.0),
    "max_side": _option(
        int | None,
        "Downscale larger images before they are scored, so that the longer side has this many pixels. This changes "
        "scores, and a run folder is for one value. Default: images are scored as they are.",
        min=MIN_SIDE,
    ),
    "template_arg": _option(
        list[str] | None,
        "An argument of the model's chat template, such as reasoning_effort=low. Default: enable_thinking=false where "
        "the template has it. May be repeated.",
        metavar="KEY=VALUE",
    ),
    "model_arg": _option(
        list[str] | None,
        "Any other setting of the model's backend, such as quantize=8bit, revision=main or concurrency=4. May be "
        "repeated.",
        metavar="KEY=VALUE",
    ),
}
_LOADING = ("device", "dtype", "template_arg", "model_arg")
_ASKING = ("batch", "seed", "max_megapixels", "max_side")


def _options(
    *,
    method: str = "paper",
    aspect: str | None = None,
    fit: Path | None = None,
    max_megapixels: float = 50.0,
    model_arg: list[str] | None = None,
    **others: Any,  # noqa: ANN401  (fields of `Options`)
) -> Options:
    settings = dict(pairs_of(model_arg, "--model-arg", such_as="quantize=8bit")) if model_arg else {}
    for name in ("device", "dtype", "spec", "template_args"):
        if name in settings:
            raise SettingError(f"--model-arg takes no {name}; there are --device, --dtype, --model and --template-arg")
    if fit is not None:
        if aspect is not None or method != "paper":
            raise SettingError("--fit is a method of its own; leave out --method and --aspect")
        if fit.suffix != presets.FIT:
            raise SettingError(f"--fit {fit} is not the name of a fit, which ends in {presets.FIT}")
        method = str(fit)
    elif aspect is not None:
        if aspect not in ASPECTS:
            like = nearest(aspect, ASPECTS)
            raise SettingError(f"there is no aspect {aspect!r}{like}; choose one of {', '.join(ASPECTS)}")
        method = f"{method}+{aspect}"
    return Options(method=method, max_pixels=round(max_megapixels * 1e6), model_args=settings, **others)


def with_template(model: str | list[str] | None, arguments: list[str]) -> str | list[str]:
    """Return the name of a model, or of each of several, with values of `--template-arg` in it."""
    if not model:
        raise SettingError("--template-arg is for a model; name it with --model")
    if isinstance(model, str):
        return with_arguments(model, arguments)
    return [with_arguments(one, arguments) for one in model]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Which part of a dataset, and how its labels are read."""

    root: Annotated[Path | None, typer.Option(help="Folder that holds the dataset.")] = None
    subset: Annotated[str | None, typer.Option(help="Only this split or subset; `sample`: the images that exist.")] = (
        None
    )
    labels: Annotated[Path | None, typer.Option(help="A label file in place of the dataset's own.")] = None
    direction: Annotated[str | None, typer.Option(help="For your own labels: higher or lower is better.")] = None
    column: Annotated[str | None, typer.Option(help="For your own labels: the column of human scores.")] = None

    def load(self, dataset: str, *, limit: int | None = None, images: bool = True, **outputs: Path | None) -> Dataset:
        """Return a dataset by name or label file; no output may be its file, and without `images` none has to exist."""
        if self.direction not in (None, "higher", "lower"):
            raise SettingError(f"--direction is higher or lower, got {self.direction!r}")
        data = load_dataset(
            dataset,
            root=self.root,
            subset=self.subset,
            labels=self.labels,
            direction=cast(Direction | None, self.direction),
            column=self.column,
            images=images,
        )
        refuse_inputs(data, **outputs)
        return data.first(limit)


@dataclass(frozen=True)
class Shared:
    """In the annotation of a parameter: the options that it stands for, each with its annotation and default.

    `make` makes of their values what the command is called with.
    """

    options: Mapping[str, tuple[Any, Any]]
    make: Callable[..., object]


def sharing(*names: str) -> Shared:
    """Return what stands for these options of `Options`, and for those that say how a model is loaded."""
    return Shared({name: _OPTIONS[name] for name in (*names, *_LOADING)}, _options)


Scoring = Annotated[Options, sharing("model", "method", "aspect", "fit", *_ASKING)]
"""How images are scored."""

Asking = Annotated[Options, sharing("model", *_ASKING)]
"""How a model is asked, by a command that has methods of its own, or none."""

LabelOptions = Annotated[
    Labelled,
    Shared({name: (kind, None) for name, kind in get_type_hints(Labelled, include_extras=True).items()}, Labelled),
]
"""Which part of a dataset is meant, and how its labels are read."""


OUTPUTS = ("out", "plot", "sheet")
"""The options that name a file to write."""

_WORDS = ("what", "title", "form", "by", "kind", "subset", "against", "table", "aspect")
"""The options that name no file."""

_ROWS = ("score", "frames", "evaluate", "rank", "burst", "export")
_TEXTS = ("compare", "tables", "bias", "calibrate", "fit", "verify")

_RUN_FILES = ("run.json", "answers.jsonl", "images.jsonl", "index.sqlite", "lock", "lock.holder")
LISTS = ("kept", "rejected", "failed")
"""The files of `filter --out`, without suffix."""


def check_outputs(options: Mapping[str, object], command: str = "") -> None:
    """Refuse to write over an input of a command, under any of its names, or to write one file twice."""
    outputs = {name: Path(str(options[name])) for name in OUTPUTS if options.get(name)}
    if not outputs:
        return
    inputs = [(name, text) for name, value in options.items() if name not in OUTPUTS + _WORDS for text in _texts(value)]
    for option, out in outputs.items():
        if not options.get("ray"):
            _check_form(command, option, out)
        for written in [out, *(out / f"{name}.csv" for name in LISTS)] if command == "filter" else [out]:
            for name, text in inputs:
                if _overlaps(written, text, is_model=name == "model"):
                    raise _refusal(option, written, text)
    if len(outputs) == 2 and len(set(map(_identity, outputs.values()))) == 1:
        raise SettingError(
            f"{' and '.join(f'--{name}' for name in outputs)} are the same file, {outputs['out']}; choose two"
        )


def refuse_inputs(inputs: Images | Dataset | Iterable[Path], **outputs: Path | Sequence[Path] | None) -> None:
    """Refuse outputs, given by the names of their options, that are among the inputs that were found."""
    named = [
        (name, out) for name, outs in outputs.items() for out in ([outs] if isinstance(outs, Path) else outs or ())
    ]
    for argument in map(_local, inputs.arguments) if isinstance(inputs, Images) else ():
        for name, out in named:
            if _overlaps(out, argument):
                raise _refusal(name, out, argument)
    present = {_identity(out): (name, out) for name, out in named if out.is_file()}
    for file in _files(inputs) if present else ():
        if (found := present.get(_identity(file))) is not None:
            raise _refusal(*found, file)


def _check_form(command: str, option: str, out: Path) -> None:
    """Refuse before hours of work a file that cannot be written."""
    if option == "sheet":
        if out.suffix.lower() != ".png" or not out.parent.is_dir():
            raise SettingError(f"--sheet {out}: name a .png in an existing folder")
    elif option == "plot" or command == "explain":
        from qdebias.report.figure import check_format

        check_format(out)
    elif command != "reproduce" and kind_of(out.name) == "image":
        raise SettingError(f"--out {out} is the name of an image, and {command} writes none; choose another")
    if command in _ROWS and option == "out":
        check_suffix(out)
    if command in _ROWS + _TEXTS and option == "out" and not out.parent.is_dir():
        raise SettingError(f"--out {out}: there is no folder {out.parent}; make it, or choose another")


def _refusal(option: str, out: Path, text: object) -> SettingError:
    return SettingError(f"--{option} {out} is, or lies among, what the command reads ({text}); choose another")


def _files(inputs: Images | Dataset | Iterable[Path]) -> Iterator[str | Path]:
    if isinstance(inputs, Dataset):
        yield from (*inputs.label_files, *inputs.paths)
    elif isinstance(inputs, Images):
        for piece in inputs.pieces():
            names = piece.names if isinstance(piece, NamedImages) else (piece.names[0].partition("!")[0],)
            yield from map(_local, names)
    else:
        yield from inputs


def _local(name: str) -> str:
    """Return the path of a local address, and a path as the disk spells it; other addresses stay."""
    scheme, mark, path = name.partition("://")
    return true_name(path if mark and scheme in ("file", "local") else name)


def _identity(path: str | Path) -> object:
    """Return a key that is the same for all names of a file, and for all names of a path without a file."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return os.path.realpath(path)
    except ValueError:  # a name that no file can have
        return None
    return found.st_dev, found.st_ino


def _texts(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, str | Path):
            yield _local(str(item))


def _overlaps(out: Path, text: str, *, is_model: bool = False) -> bool:
    """Whether an output is an input that an argument names, or one of the files that may be read in its folder."""
    text = text.removeprefix("hf:").removeprefix("vllm:") if is_model else text
    if not os.path.isdir(text):  # noqa: PTH112 (a name that the system refuses is none)
        matches = glob.iglob(text, recursive=True) if glob.has_magic(text) else ()  # noqa: PTH207
        return _identity(out) in map(_identity, [text, *matches])
    folder, real, inside = Path(text), Path(os.path.realpath(out)), Path(os.path.realpath(text))
    if real.parent == inside and real.name.casefold() in _RUN_FILES:
        return True
    if not (real.is_relative_to(inside) and out.is_file()):
        return False
    in_run = (folder / "run.json").is_file() and real.parent.name == "tables"
    return is_model or in_run or kind_of(real.name) == "image" or is_dataset(folder)

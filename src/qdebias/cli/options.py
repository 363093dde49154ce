"""Options that several commands have: each is written once, and a command names the object that they become.

`options: Scoring` in a command's signature stands for --model, --method, --batch and the others of `Scoring`; the
command is called with one `qdebias.runs.options.Options`. Likewise `labels: LabelOptions`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias, cast, get_type_hints

import typer

from qdebias.backends.load import pairs_of
from qdebias.errors import SettingError
from qdebias.image import MIN_SIDE
from qdebias.inputs.datasets import Dataset, load_dataset
from qdebias.methods import presets
from qdebias.methods.parts import ASPECTS
from qdebias.metrics.mos import Direction
from qdebias.runs.options import Options
from qdebias.system.named import nearest

Values: TypeAlias = dict[str, Any]
"""What a command line says, by the names of the parameters."""

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
        help="How it is asked; see `qdebias methods`. Add parts with a plus: paper+levels5+logodds. Your own: "
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
Megapixels = Annotated[float, typer.Option(min=0.001, help="Images with more are refused before they are decoded.")]
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
    "model": _option(
        str, "Which model answers: `nano` is embedded; see `qdebias models`.", "--model", "-m", default="nano"
    ),
    "method": (MethodName, "paper"),
    "aspect": _option(
        str | None,
        f"Ask about this instead of quality as a whole: {', '.join(ASPECTS)}. Short for +ASPECT after the method.",
    ),
    "fit": _option(
        Path | None, "Score with a fit to your own labels, a file of `qdebias fit`: short for `--method FILE`."
    ),
    "batch": _option(int, "How many images go to the model at a time.", min=1, default=8),
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
        "Make larger images smaller before they are scored, so that the longer side has this many pixels. It changes "
        "scores, and belongs to a run folder. Default: images are scored as they are.",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Which part of a dataset, and how its labels are read."""

    root: Annotated[Path | None, typer.Option(help="Folder that holds the dataset.")] = None
    subset: Annotated[str | None, typer.Option(help="Only this split or subset; `sample`: whatever is there.")] = None
    labels: Annotated[Path | None, typer.Option(help="A label file in place of the dataset's own.")] = None
    direction: Annotated[str | None, typer.Option(help="For your own labels: higher or lower is better.")] = None
    column: Annotated[str | None, typer.Option(help="For your own labels: the column of human scores.")] = None

    def load(self, dataset: str, *, images: bool = True) -> Dataset:
        """Return the dataset of a name or label file; without `images`, none of them has to be there."""
        if self.direction not in (None, "higher", "lower"):
            raise SettingError(f"--direction is higher or lower, got {self.direction!r}")
        return load_dataset(
            dataset,
            root=self.root,
            subset=self.subset,
            labels=self.labels,
            direction=cast(Direction | None, self.direction),
            column=self.column,
            images=images,
        )


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


def expanded(command: Callable[..., None]) -> tuple[list[inspect.Parameter], Callable[[Values], Values]]:
    """Return the parameters of a command with the options of each shared object in its place, and what joins them."""
    hints = get_type_hints(command, include_extras=True)
    parameters, shared = [], {}
    for name, parameter in inspect.signature(command).parameters.items():
        found = next((one for one in getattr(hints[name], "__metadata__", ()) if isinstance(one, Shared)), None)
        if found:
            shared[name] = found
        for option, (kind, default) in (found.options if found else {name: (hints[name], parameter.default)}).items():
            parameters.append(
                inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            )

    def joined(values: Values) -> Values:
        left, made = dict(values), {}
        for name, one in shared.items():
            made[name] = one.make(**{option: left.pop(option) for option in one.options if option in left})
        return left | made

    return parameters, joined

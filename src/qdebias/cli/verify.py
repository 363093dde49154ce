"""`qdebias verify`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from qdebias.backends.base import Backend
from qdebias.backends.load import require
from qdebias.cli.console import Device, Dtype, Paths, say, user_errors
from qdebias.cli.outputs import refuse_inputs
from qdebias.errors import SettingError
from qdebias.image import RgbImage, load_image
from qdebias.inputs import find_inputs
from qdebias.runs.scorer import Scorer


def verify(
    model: Annotated[str, typer.Argument(help="A checkpoint of mPLUG-Owl3 or mPLUG-Owl2: its folder or hub id.")],
    paths: Paths,
    out: Annotated[Path, typer.Option(help="The report to write, as JSON.")] = Path("verify.json"),
    device: Device = None,
    dtype: Dtype = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.")] = None,
) -> None:
    """Check published weights of mPLUG-Owl3 or mPLUG-Owl2 against our code, and write a small report.

    It says which keys are missing or surplus (of mPLUG-Owl3 also release and gate), how much memory the weights take,
    how far sharing moves a logit, and what methods such as `paper` or `q-align` score on the images.
    Exit code 1 where the weights are refused; the report says why. Keep it beside the scores;
    where the project is hosted, an issue is the place for it.
    """
    with user_errors():
        require("torch", "transformers", extra="torch")
        from qdebias.backends.verify import verify as verify_checkpoint
        from qdebias.backends.verify import write_report

        inputs = find_inputs(paths)
        refuse_inputs(inputs.images, out=out)
        images = {path.name: load_image(path) for path in inputs.paths}
        report = verify_checkpoint(model, images, _score, device=device, dtype=dtype, revision=revision)
        try:
            write_report(report, out)
        except OSError as error:
            raise SettingError(f"{out}: cannot be written ({error.strerror or error})") from error
        say(f"refused: {report['refused']}" if report["refused"] else "the weights fit")
        say(f"report written to {out}")
    raise typer.Exit(1 if report["refused"] else 0)


def _score(backend: Backend, method: str, image: RgbImage) -> dict[str, Any]:
    return {"value": Scorer(backend=backend, method=method).score(image).value}

"""`qdebias bias`: how far what an image shows decides what the model thinks of its quality."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from qdebias.cli.console import one_line, progress, say, say_failed, track
from qdebias.cli.options import Asking, Labelled, LabelOptions, Limit, Resamples, RunFolder
from qdebias.cli.outputs import refuse_inputs
from qdebias.cli.paper import Form, Out, form_of, write_tables
from qdebias.cli.runs import open_model_run
from qdebias.errors import SettingError
from qdebias.evaluation.bias import Exposure, bias_table, exposure_by_content, exposure_table, measure_bias
from qdebias.evaluation.evidence import first_items
from qdebias.evaluation.method_scores import ModelRun
from qdebias.evaluation.paper_tables import BIAS, recipes_of, reproduce, saved_evidence
from qdebias.evaluation.table import Table
from qdebias.inputs import Inputs, find_inputs
from qdebias.inputs.datasets import Dataset
from qdebias.methods.method import Score
from qdebias.methods.plan import Failure
from qdebias.runs.scorer import Scorer
from qdebias.runs.stored import StoredBackend


@dataclass(frozen=True, slots=True, kw_only=True)
class _Findings:
    tables: Sequence[Table]
    draw: Callable[[Path], None]
    errors: Sequence[str] = ()


def bias(
    paths: Annotated[list[str] | None, typer.Argument(help="Image files, folders or patterns in quotes.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A dataset with human scores, by name or as a label file, in place of images.")
    ] = None,
    *,
    labels: LabelOptions,
    options: Asking,
    run: RunFolder = None,
    by: Annotated[
        str | None, typer.Option(help="How images are grouped: by scene, group or subset. Default: the first known.")
    ] = None,
    limit: Limit = None,
    form: Form = None,
    out: Out = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw it: .png, .pdf, .svg.")] = None,
    resamples: Resamples = 500,
) -> None:
    """Measure the bias that the method mitigates.

    - `qdebias bias PHOTOS` prints the exposure of each image: P(good) of its severely degraded copies
    - `qdebias bias --dataset spaq --root data/SPAQ --run runs/spaq --plot bias.png` also prints how far images of each
      scene are ranked too high or too low at equal human score, before and after debiasing
    - `qdebias bias --run runs/spaq` prints the latter again from what is stored, without a model
    """
    with ExitStack() as stack:
        chosen = form_of(form, out)
        if (paths and dataset) or not (paths or dataset or run):
            raise SettingError("name images, or a dataset with --dataset, or a run folder with --run alone")
        if not dataset and (limit or labels != Labelled()):
            raise SettingError("--root, --subset, --limit and --labels need a dataset; name it with --dataset")
        if run and not paths and not dataset:
            found = _stored(run, by, resamples, plot)
        else:
            data = labels.load(dataset) if dataset else find_inputs(paths or [])
            refuse_inputs(data if isinstance(data, Dataset) else data.images, out=out, plot=plot)
            model_run = stack.enter_context(open_model_run(options, run))
            scorer = model_run.scorer(StoredBackend(model_run.backend, model_run.run), Exposure())
            if isinstance(data, Inputs):
                found = _exposure(scorer, data, options.model)
            else:
                found = _offsets(model_run, scorer, data, by=by, limit=limit, model=options.model, resamples=resamples)
        write_tables(found.tables, chosen, out)
        if plot is not None:
            found.draw(plot)
            say(f"drawn in {plot}")
    raise typer.Exit(1 if say_failed(found.errors) else 0)


def _exposure(scorer: Scorer, inputs: Inputs, model: str) -> _Findings:
    """Measure the exposure of images."""
    from qdebias.report.paper_figures import draw_strip

    method = Exposure()
    results = _expose(scorer, inputs.paths)
    title = f"Exposure of bias, model {model}, seed {scorer.context.seed}"
    names = [one_line(str(path)) for path in inputs.paths]
    scores = [result for result in results if isinstance(result, Score)]
    failures = [*inputs.failures, *(result for result in results if isinstance(result, Failure))]
    return _Findings(
        tables=[exposure_table(names, results, method, title=title)],
        draw=lambda plot: draw_strip(scores, method, plot, title=title),
        errors=[failure.error for failure in failures],
    )


def _offsets(
    model_run: ModelRun, scorer: Scorer, data: Dataset, *, by: str | None, limit: int | None, model: str, resamples: int
) -> _Findings:
    """Measure offsets at equal human score, and the mean exposure of each content."""
    from qdebias.report.paper_figures import draw_scatter

    part, recipes = first_items(data, limit), recipes_of(BIAS, data.name)
    with progress(total=len(part) * len(recipes)) as show:
        model_run = replace(model_run, progress=lambda name, done: show(done + len(part) * recipes.index(name)))
        evidence = reproduce(BIAS, data, model_run, model=model, limit=limit)
    found = measure_bias(evidence, kind=by, resamples=resamples)
    exposure = exposure_by_content(evidence, _expose(scorer, part.paths), found.kind)
    return _Findings(
        tables=[bias_table(evidence, found, exposure=exposure)],
        draw=lambda plot: draw_scatter(evidence, found, plot),
        errors=evidence.errors,
    )


def _stored(run: Path, by: str | None, resamples: int, plot: Path | None) -> _Findings:
    """Measure offsets from the scores that earlier commands left in a run folder."""
    evidences = [one for one in saved_evidence([run]) if set(recipes_of(BIAS, one.dataset)) <= set(one.results)]
    if not evidences:
        raise SettingError(
            f"{run} holds no scores under {' and '.join(recipes_of(BIAS, ''))}; give --dataset and --root"
        )
    for one in evidences:
        refuse_inputs((Path(one.root, name) for name in one.names), plot=plot)
    pairs = [(evidence, measure_bias(evidence, kind=by, resamples=resamples)) for evidence in evidences]

    def draw(plot: Path) -> None:
        from qdebias.report.paper_figures import draw_scatter

        if len(pairs) > 1:
            raise SettingError(f"{run} holds {len(pairs)} datasets, and a picture shows one; give --dataset and --root")
        draw_scatter(*pairs[0], plot)

    return _Findings(tables=[bias_table(evidence, found) for evidence, found in pairs], draw=draw)


def _expose(scorer: Scorer, paths: Sequence[Path]) -> list[Score | Failure]:
    return list(track(scorer.score_many(paths, on_error="return"), total=len(paths)))

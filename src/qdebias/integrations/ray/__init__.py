"""Runs on a cluster: Ray places the workers, each of which holds the model and writes what it scored.

`plan` freezes which images belong together, `crew` hands them out in chunks to its workers and copes with those that
die, `folder` is where plan and results lie. See docs/scale.md. Nothing here imports Ray before it is needed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath

from qdebias.backends.load import require
from qdebias.errors import SettingError
from qdebias.inputs import Images, LeftOut, open_images
from qdebias.inputs.items import SIZE
from qdebias.integrations.ray.folder import Folder, open_folder
from qdebias.integrations.ray.plan import SCORES, Manifest, freeze, read_manifest, score_file, write_manifest
from qdebias.runs.options import Options

__all__ = ["Progress", "Setting", "Workers", "score_on_ray"]

Setting = Options
"""The name of `Options` in this place."""


LOCAL = "local"
"""The address of a cluster of this machine alone, which is started and ended with the run."""

AUTO = "auto"
"""The address of the cluster that this machine belongs to, or that RAY_ADDRESS in the environment names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """The workers of a run.

    Attributes:
        address: "local" takes this machine alone, "auto" finds the cluster that it belongs to, "host:port" is the head
            of that cluster. None: what this process is connected to already, else "local".
        count: How many, each with a model of its own. More than there is room for now are the demand by which an
            autoscaler adds machines. None: as many as there is room for.
        gpus: GPUs of a worker; 0.5 puts two on one. None: one if the cluster has any.
        cpus: Processor cores of a worker.

    Raises:
        SettingError: A number is out of range.
    """

    address: str | None = None
    count: int | None = None
    gpus: float | None = None
    cpus: float = 1.0

    def __post_init__(self) -> None:
        gpus = self.gpus or 0.0
        if (
            gpus < 0
            or self.cpus <= 0
            or (gpus > 1 and gpus != int(gpus))
            or (self.count is not None and self.count < 1)
        ):
            raise SettingError(
                f"there must be at least one worker, with a part of one GPU or whole ones and more than 0 cores; got "
                f"count={self.count}, gpus={self.gpus}, cpus={self.cpus}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        chunks: Chunks in all.
        skipped: How many of them earlier calls wrote.
        done: How many this call wrote.
        total: Images in all; None where only reading shards would tell.
        images: Images that this call wrote a row for.
        failed: How many of these could not be scored; the rows say why.
        seconds: Since the first worker was requested.
        at_work: Workers that are scoring.
        awaited: Workers that Ray has not placed yet, or that load the model.
        deaths: Workers that died and were replaced.
        last_death: How the last of them died, in Ray's words; empty where none did.
    """

    chunks: int
    skipped: int
    done: int = 0
    total: int | None
    images: int = 0
    failed: int = 0
    seconds: float = 0.0
    at_work: int = 0
    awaited: int = 0
    deaths: int = 0
    last_death: str = ""


def score_on_ray(
    images: Images | Sequence[str | PathLike[str]],
    *,
    out: str | PathLike[str],
    setting: Options,
    workers: Workers | None = None,
    chunk: int = SIZE,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Score images with workers that Ray places on the machines of a cluster, into a folder of Parquet files.

    The same call resumes where an earlier one stopped. Workers and machines may die meanwhile: while there is one left
    the run continues, and without any it waits for Ray to find another.

    Args:
        images: What `qdebias.inputs.open_images` takes, or returned.
        out: The folder of the run, on a disk that all machines see under this path, or an address such as
            "s3://bucket/scores". `scores/*.parquet` in it are the rows, see `qdebias.runs.records.AnsweredRecord`.
        setting: How they are scored. Every machine must be able to load the model.
        workers: Where they are scored; None takes all of the cluster that this process is connected to, or of this
            machine.
        chunk: Most images in a chunk, of those that are named one by one. It is what the death of a worker costs.
        on_progress: Is told how far the run is after each chunk and death, and when nothing happened for half a minute.

    Returns:
        How far it came: all chunks are done.

    Raises:
        SettingError: A setting is impossible, nothing was found to score, or there is no cluster.
        StoreError: The folder holds scores of other images, or of another model or method, or cannot be written, or
            another command writes it.
        BackendError: The model cannot be loaded or cannot answer.
        MissingPackageError: Ray is not installed.
    """
    require("ray", extra="ray")
    from qdebias.integrations.ray.cluster import check_reachable

    if chunk < 1:
        raise SettingError(f"chunk must be 1 or more, got {chunk}")
    given = images if isinstance(images, Images) else open_images([fspath(image) for image in images])
    folder, setting, workers = open_folder(fspath(out)), setting.absolute(), workers or Workers()
    if workers.address is not None and ((known := read_manifest(folder)) is None or _missing(known, folder)):
        check_reachable(workers.address)  # before the images are listed, which may take long
    with folder.held():
        plan = _planned(read_manifest(folder), given, folder, setting, chunk)
        missing = _missing(plan, folder)
        start = Progress(chunks=plan.extent.chunks, skipped=plan.extent.chunks - len(missing), total=plan.extent.images)
        if not missing:
            return start
        return _conducted(missing, plan, folder, setting, workers, start, on_progress, given.left_out)


def _missing(plan: Manifest, folder: Folder) -> list[int]:
    """Return the chunks that have no file of scores."""
    written = folder.names(SCORES)
    return [number for number in range(plan.extent.chunks) if score_file(number).partition("/")[2] not in written]


def _planned(known: Manifest | None, images: Images, folder: Folder, setting: Options, chunk: int) -> Manifest:
    """Return the manifest that the folder has, or the one that it will have when the model is known."""
    decisive = setting.decisive()
    if known is None:
        return Manifest(setting=decisive, identity={}, chunk=chunk, extent=freeze(images.pieces(), folder, chunk=chunk))
    known.check_setting(decisive)
    known.check_listing(freeze(images.pieces(), None, chunk=known.chunk))
    return known


def _conducted(
    missing: Sequence[int],
    plan: Manifest,
    folder: Folder,
    setting: Options,
    workers: Workers,
    progress: Progress,
    on_progress: Callable[[Progress], None],
    left_out: list[LeftOut],
) -> Progress:
    """Have the missing chunks scored; what is left out of their shards is added to `left_out`."""
    from qdebias.integrations.ray.cluster import connected, hiring
    from qdebias.integrations.ray.crew import Crew

    begin, expected = time.monotonic(), plan

    def recognise(identity: Mapping[str, str]) -> None:
        """Make the model of the first worker that of the run, and hold every other to it."""
        nonlocal expected
        if not expected.identity:
            expected = replace(expected, identity=identity)
            write_manifest(folder, expected)
        expected.check_identity(identity)

    with connected(workers.address):
        crew = Crew(*hiring(setting, folder, workers), recognise, folder)
        try:
            for tally in crew.work(missing):
                left_out += tally.left_out if tally else ()
                progress = replace(
                    progress,
                    done=progress.done + (tally is not None),
                    images=progress.images + (tally.images if tally else 0),
                    failed=progress.failed + (tally.failed if tally else 0),
                    seconds=time.monotonic() - begin,
                    at_work=crew.at_work,
                    awaited=crew.awaited,
                    deaths=crew.deaths,
                    last_death=crew.last_death,
                )
                on_progress(progress)
        finally:
            crew.dismiss()
    return progress

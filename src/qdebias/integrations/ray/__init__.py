"""Runs on a cluster: Ray places workers, each of which holds the model and writes its scores; see docs/scale.md.

`folder` holds plan and results; `cluster` imports Ray, gives chunks of the plan to its workers and replaces dead ones.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from os import PathLike, fspath

from qdebias.backends.base import identity_difference
from qdebias.backends.load import require
from qdebias.errors import SettingError, StoreError
from qdebias.inputs import Images, open_images
from qdebias.inputs.items import SIZE, add_left_out
from qdebias.integrations.ray.folder import SCORES, Folder, Manifest, freeze, open_folder, read_manifest, score_file
from qdebias.runs.options import Options

__all__ = ["Progress", "Setting", "Workers", "score_on_ray"]

Setting = Options  # its name in this place
LOCAL = "local"  # the address of a cluster of this machine alone, which is started and ended with the run
AUTO = "auto"  # the address of the cluster that this machine belongs to, or that RAY_ADDRESS names
_SETTINGS = "settings of the method"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """The workers of a run, each with a model of its own.

    More of them than there is room for now are the demand by which an autoscaler adds machines.
    """

    address: str | None = None  # LOCAL, AUTO, or "host:port"; None: what this process is connected to, else LOCAL
    count: int | None = None  # None: as many as there is room for
    gpus: float | None = None  # of a worker; 0.5 puts two on one GPU; None: one if the cluster has any
    cpus: float = 1.0  # processor cores of a worker

    def __post_init__(self) -> None:
        gpus, count = self.gpus or 0.0, 1 if self.count is None else self.count
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)) or self.cpus <= 0 or count < 1:
            raise SettingError(
                f"there must be at least one worker, with a part of one GPU or whole ones and more than 0 cores; got "
                f"count={self.count}, gpus={self.gpus}, cpus={self.cpus}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is."""

    chunks: int  # in all
    skipped: int  # how many of them earlier calls wrote
    done: int = 0  # how many this call wrote
    total: int | None  # images in all; None if only reading shards could count them
    images: int = 0  # that this call wrote a row for
    failed: int = 0  # how many of these could not be scored; see their rows
    seconds: float = 0.0  # since the first worker was requested
    at_work: int = 0  # workers that are scoring
    awaited: int = 0  # workers that Ray has not placed yet, or that load the model
    deaths: int = 0  # workers that died and were replaced
    last_death: str = ""  # how the last of them died, in Ray's words


def score_on_ray(
    images: Images | Sequence[str | PathLike[str]],  # what `qdebias.inputs.open_images` takes, or returned
    *,
    out: str | PathLike[str],  # on a disk that all machines see, or an address such as "s3://bucket/scores"
    setting: Options,  # every machine must be able to load the model
    workers: Workers | None = None,
    chunk: int = SIZE,  # most images in a chunk of those that are named one by one: what the death of a worker costs
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Score images with workers that Ray places on the machines of a cluster, into a folder of Parquet files.

    The same call resumes where an earlier one stopped. Workers and machines may die meanwhile: the run continues with
    those that are left, or waits for Ray to find another. `on_progress` is called after each chunk and death, and after
    half a minute of silence. The rows are those of `qdebias.runs.records.AnsweredRecord`.
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
        plan = _planned(folder, given, setting, chunk)
        missing = _missing(plan, folder)
        start = Progress(chunks=plan.extent.chunks, skipped=plan.extent.chunks - len(missing), total=plan.extent.images)
        return _scored(missing, plan, folder, given, setting, workers, start, on_progress) if missing else start


def _missing(plan: Manifest, folder: Folder) -> list[int]:
    """Return the chunks that have no file of scores."""
    written = folder.names(SCORES)
    return [number for number in range(plan.extent.chunks) if score_file(number).partition("/")[2] not in written]


def _planned(folder: Folder, images: Images, setting: Options, chunk: int) -> Manifest:
    """Return the manifest that the folder has, if it fits, or the one that it will have when the model is known."""
    decisive, known = setting.decisive(), read_manifest(folder)
    if known is None:
        return Manifest(setting=decisive, identity={}, chunk=chunk, extent=freeze(images.pieces(), folder, chunk=chunk))
    same = known.setting.get(_SETTINGS) == decisive.get(_SETTINGS)  # under any name, as `paper-eq7` once was `paper`
    old = {**known.setting} | ({"method": decisive["method"]} if same else {})
    differences = identity_difference(old, decisive)
    if not same and old.get("method") == decisive["method"]:
        differences.append("what was paper is paper-eq7 now, and average average+eq7")
    _refuse(differences)
    extent = freeze(images.pieces(), None, chunk=known.chunk)
    if extent != known.extent:
        raise StoreError(
            f"the images are not those that this run was started with ({known.extent} then, {extent} now, or others of "
            f"the same number); score what was added into another folder, or name the original images"
        )
    return known


def _refuse(differences: Sequence[str]) -> None:
    if differences:
        raise StoreError(f"the folder holds scores of another kind ({'; '.join(differences)}); choose another folder")


def _scored(
    missing: Sequence[int],
    plan: Manifest,
    folder: Folder,
    images: Images,
    setting: Options,
    workers: Workers,
    progress: Progress,
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Have the missing chunks scored; what is left out of their shards is added to `images.left_out`."""
    from qdebias.integrations.ray.cluster import Crew, connected

    begin, expected = time.monotonic(), dict(plan.identity)

    def recognise(identity: Mapping[str, str]) -> None:
        """Make the model of the first worker that of the run, and hold every other to it."""
        if not expected:
            replace(plan, identity=identity).write(folder)
            expected.update(identity)
        _refuse(identity_difference(expected, identity))

    with connected(workers.address):
        crew = Crew(setting, folder, workers, recognise)
        with closing(crew.work(missing)) as tallies:
            for tally in tallies:
                for left_out in tally.left_out if tally else ():
                    add_left_out(images.left_out, left_out)
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
    return progress

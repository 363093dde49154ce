"""Reaching Ray, and asking it for workers."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError
from ray.job_config import JobConfig

from qdebias.integrations.ray.folder import Folder
from qdebias.integrations.ray.reach import no_cluster
from qdebias.integrations.ray.worker import Worker
from qdebias.integrations.ray.workers import LOCAL, Workers
from qdebias.runs.options import Options

_OBJECTS = 100 << 20
"""Bytes that a local cluster sets aside for objects: numbers of chunks are all that is sent."""


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Use the cluster that this process is connected to, or connect to one for as long as it is needed.

    Raises:
        SettingError: There is none.
    """
    if ray.is_initialized() and address is None:
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray tells its makers about each cluster unless told not to
    address = address or LOCAL
    own: dict[str, Any] = {"object_store_memory": _OBJECTS, "include_dashboard": False} if address == LOCAL else {}
    try:
        with _own_handler(signal.SIGTERM):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, job_config=_job_config(), **own)
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        raise no_cluster(address, " ".join(str(error).split())) from error
    try:
        yield
    finally:
        ray.shutdown()


class _NoFolders(list[str]):
    """Takes none of the folders that Ray would let its workers import from: the current one, and the program's."""

    def extend(self, folders: Iterable[str]) -> None:
        """Leave the list as it is."""


def _job_config() -> JobConfig:
    config = JobConfig()
    config._py_driver_sys_path = _NoFolders()
    return config


@contextmanager
def _own_handler(number: signal.Signals) -> Iterator[None]:
    """Keep what the program does on a signal: Ray would print a stack and exit with a number of its own."""
    handler = signal.getsignal(number)
    yield
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(number, handler)


def hiring(setting: Options, folder: Folder, workers: Workers) -> tuple[Callable[[], Any], int]:
    """Return what asks Ray for one more worker, and how many there are to be."""
    room = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpus = float("GPU" in room) if workers.gpus is None else workers.gpus
    fits = [room.get("CPU", 0.0) / workers.cpus, *([room.get("GPU", 0.0) / gpus] if gpus else [])]
    # Neither restarts nor retries: a task that kills its worker would be tried for ever. See `crew`.
    actor = ray.remote(num_cpus=workers.cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)(Worker)
    return lambda: actor.remote(setting, folder), workers.count or max(1, int(min(fits)))

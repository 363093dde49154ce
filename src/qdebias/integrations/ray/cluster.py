"""Reaching Ray, and asking it for workers."""

import logging
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError
from ray.job_config import JobConfig

from qdebias.errors import SettingError
from qdebias.integrations.ray import AUTO, LOCAL, Workers
from qdebias.integrations.ray.crew import Worker
from qdebias.integrations.ray.folder import Folder
from qdebias.runs.options import Options
from qdebias.system.processes import module_command

PORT_SECONDS = 5.0  # for a machine to open its port
HEAD_SECONDS = 20.0  # for the head of a cluster to answer, the start of the process that asks it included
_CLIENT = "ray://"
_OBJECTS = 100 << 20  # bytes that a local cluster sets aside for objects: numbers of chunks are all that is sent


def check_reachable(address: str) -> None:
    """Raise SettingError where no cluster is at an address, as far as anything but `ray.init` can tell, at once.

    There is none where nothing listens, or what listens is no cluster, or one that wants another version or token.
    """
    if address == AUTO:
        address = os.environ.get("RAY_ADDRESS") or AUTO
    if address == LOCAL:
        return
    if address != AUTO:
        host, _, port = address.removeprefix(_CLIENT).rpartition(":")
        if not (host and port.isdecimal()):
            raise _no_cluster(address, f"an address is HOST:PORT, {AUTO!r} or {LOCAL!r}")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=PORT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, getattr(error, "strerror", None) or str(error)) from error
    if address.startswith(_CLIENT):
        return
    # in a process of its own, as what asks can neither be given a limit nor be kept from writing to stderr
    command = module_command(
        "ray.scripts.scripts", "health-check", *(() if address == AUTO else ("--address", address))
    )
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=HEAD_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise _no_cluster(address, f"no head of a cluster answers within {HEAD_SECONDS:.0f} s") from error
    if done.returncode and address != AUTO:  # for "auto", ray.init finds the token by itself
        words = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SettingError(f"the Ray cluster at {address!r} refuses this command: {words.partition(': ')[2] or words}")


def _no_cluster(address: str, why: str) -> SettingError:
    remedy = f"`ray start --head` begins one and tells its address, {LOCAL!r} takes this machine without one"
    return SettingError(f"no Ray cluster at {address!r} ({why}); {remedy}")


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Use the cluster that this process is connected to, or connect to one for as long as it is needed."""
    if ray.is_initialized() and address is None:
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray tells its makers about each cluster unless told not to
    address, config = address or LOCAL, JobConfig()
    config._py_driver_sys_path = _NoFolders()
    own: dict[str, Any] = {"object_store_memory": _OBJECTS, "include_dashboard": False} if address == LOCAL else {}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, job_config=config, **own)
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        raise _no_cluster(address, " ".join(str(error).split())) from error
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's would print a stack and exit with a number of its own
    try:
        yield
    finally:
        ray.shutdown()


class _NoFolders(list[str]):
    """Takes none of the folders that Ray would let its workers import from: the current one, and the program's."""

    def extend(self, folders: Iterable[str]) -> None:
        """Leave the list as it is."""


def hiring(setting: Options, folder: Folder, workers: Workers) -> tuple[Callable[[], Any], int]:
    """Return what asks Ray for one more worker, and how many there are to be."""
    room = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpus = float("GPU" in room) if workers.gpus is None else workers.gpus
    fits = [room.get("CPU", 0.0) / workers.cpus, *([room.get("GPU", 0.0) / gpus] if gpus else [])]
    # Neither restarts nor retries: a task that kills its worker would be tried for ever. See `crew`.
    actor = ray.remote(num_cpus=workers.cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)(Worker)
    return lambda: actor.remote(setting, folder), workers.count or max(1, int(min(fits)))

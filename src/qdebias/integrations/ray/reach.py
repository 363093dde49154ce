"""Whether a Ray cluster answers at an address, told within seconds; Ray itself tries for minutes, with lines of log."""

import os
import socket
import subprocess

from qdebias.errors import SettingError
from qdebias.integrations.ray.workers import AUTO, LOCAL
from qdebias.system.processes import module_command

PORT_SECONDS = 5.0
"""How long a machine may take to open its port."""

HEAD_SECONDS = 20.0
"""How long the head of a cluster may take to answer, the start of the process that asks it included."""

_CLIENT = "ray://"


def check_reachable(address: str) -> None:
    """Return if there is a cluster at an address, or where only `ray.init` can tell, which then does so at once.

    Args:
        address: What `Workers.address` takes.

    Raises:
        SettingError: Nothing listens there, or what listens is no cluster, or one that wants another version or token.
    """
    if address == AUTO:
        address = os.environ.get("RAY_ADDRESS") or AUTO
    if address == LOCAL:
        return
    if address != AUTO:
        _check_port(address)
    if not address.startswith(_CLIENT):
        _check_head(address)


def no_cluster(address: str, why: str) -> SettingError:
    """Return the error that says that there is no cluster at an address."""
    remedy = f"`ray start --head` begins one and tells its address, {LOCAL!r} takes this machine without one"
    return SettingError(f"no Ray cluster at {address!r} ({why}); {remedy}")


def _check_port(address: str) -> None:
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    if not (host and port.isdecimal()):
        raise no_cluster(address, f"an address is HOST:PORT, {AUTO!r} or {LOCAL!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PORT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise no_cluster(address, getattr(error, "strerror", None) or str(error)) from error


def _check_head(address: str) -> None:
    """Ask in a process of its own, as what asks can neither be given a limit nor be kept from writing to stderr."""
    named = () if address == AUTO else ("--address", address)
    command = module_command("ray.scripts.scripts", "health-check", *named)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=HEAD_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise no_cluster(address, f"no head of a cluster answers within {HEAD_SECONDS:.0f} s") from error
    if done.returncode and address != AUTO:  # for "auto", ray.init finds the token by itself
        words = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise SettingError(f"the Ray cluster at {address!r} refuses this command: {words.partition(': ')[2] or words}")

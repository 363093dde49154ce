"""Where a run's workers are to be found, and what each takes of its machine."""

from dataclasses import dataclass

from qdebias.errors import SettingError

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

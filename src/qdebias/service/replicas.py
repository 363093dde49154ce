"""The service on Ray Serve: the same application in many replicas, each with models, a queue and decoders of its own.

    serve run qdebias.service.replicas:app replicas=2 models=nano

docs/service.md has more. Only digests of the keys travel to the replicas.
"""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from ray import serve
from ray.serve import Application
from starlette.types import ASGIApp

from qdebias.errors import SettingError
from qdebias.runs.options import Options as ScoringOptions
from qdebias.service.app import create_app
from qdebias.service.guard import load_keys, set_up_logs
from qdebias.service.limits import Settings
from qdebias.service.service import Service, loader, specs_by_name

Words = Annotated[
    tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]  # `serve run` hands on words


class Options(BaseModel):
    """The arguments of the application, in a configuration file of Ray Serve or behind `serve run`.

    `models`, `device`, `dtype`, `keys_file` and `names` are as those of `qdebias serve`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    replicas: int = Field(default=1, ge=1)  # wherever the cluster has room
    cpus: float = Field(default=1, ge=0)  # of a replica, for Ray's book-keeping; may be a part, as may gpus
    gpus: float = Field(default=0, ge=0)
    models: Words = ("nano",)
    device: str | None = None
    dtype: str | None = None
    keys_file: Path | None = None  # without it, QDEBIAS_SERVE_KEYS; read where the application is built
    open_to_all: bool = False  # whether everybody who reaches Ray's proxies may use it without a key
    names: Words = ()
    settings: Settings = Settings()  # of each replica


def app(options: Options) -> Application:
    """Return the application that Ray Serve deploys."""
    keys = load_keys(options.keys_file)
    if not keys and not options.open_to_all:
        raise SettingError("there are no keys; set QDEBIAS_SERVE_KEYS or keys_file, or set open_to_all=true")
    settings, hosts = options.settings, frozenset(name.lower() for name in options.names)
    scoring = ScoringOptions(device=options.device, dtype=options.dtype)
    load = loader(specs_by_name(options.models), scoring, settings)

    def build() -> ASGIApp:
        """Return the application of one replica, in its process."""
        set_up_logs()
        return create_app(Service(load, settings), keys=keys, hosts=hosts, in_ray=True)

    replica = serve.deployment(
        name="qdebias",
        num_replicas=options.replicas,
        ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
        max_ongoing_requests=2 * settings.queue,  # more than have a place: whom to refuse, and how, is ours to say
        graceful_shutdown_timeout_s=settings.drain,
    )
    return replica(serve.ingress(build)()).bind()

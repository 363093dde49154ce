"""Logs, one JSON object a line on stderr with nothing of an image or its name, and counters for Prometheus."""

import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]

log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    logging.getLogger("qdebias.service"),
    processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    wrapper_class=structlog.stdlib.BoundLogger,
)


def set_up_logs() -> None:
    """Send the log lines of this process to stderr as JSON; for a process of the service's own, never on import."""
    handler = logging.StreamHandler(sys.stderr)
    finish: list[structlog.typing.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(),
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=finish))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns about every malformed form


def end_process(error: BaseException) -> NoReturn:
    """End a process that is broken, so that a supervisor starts it again: one line, and exit status 1."""
    log.critical("the process is broken and ends", error=type(error).__name__, text=str(error))
    os._exit(1)


SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "qdebias_requests", "Requests by route and HTTP status.", ("route", "method", "status"), registry=own
        )
        self.seconds = Histogram(
            "qdebias_request_seconds", "Time from request to answer.", ("route",), buckets=SECONDS, registry=own
        )
        became = "Images by what became of them: scored, or the code of an error."
        self.images = Counter("qdebias_images", became, ("outcome",), registry=own)
        sizes = (1, 2, 4, 8, 16, 32, 64)
        self.batches = Histogram(
            "qdebias_batch_images", "Images that went to the model together.", buckets=sizes, registry=own
        )
        self.model_seconds = Counter("qdebias_model_seconds", "Time in which the model worked.", registry=own)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Export a number that is read when somebody asks."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def batch(self, count: int, seconds: float) -> None:
        """Note a batch."""
        self.batches.observe(count)
        self.model_seconds.inc(seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

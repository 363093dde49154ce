"""Structured logs: one JSON object a line on stderr, with the request's id, and nothing of an image or its name."""

import logging
import os
import sys
from typing import NoReturn

import structlog

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

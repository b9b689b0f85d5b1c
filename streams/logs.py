"""Log lines: structlog for ours, the same shape for what the libraries log; JSON for machines, colour for a terminal.

Bind what a unit of work shares (`trace_id`, `experiment`, `request_id`) with `structlog.contextvars.bind_contextvars`:
every line written under it carries it.
"""

import logging
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

LARGEST_LOG_BYTES = 16 * 1024 * 1024
_NOISY = ("faust", "mode", "aiokafka", "ray", "uvicorn.access", "asyncio", "alembic")


def set_up(format: str, level: str, *, program: str, stream: TextIO | None = None) -> None:  # noqa: A002
    """Send every log line of this process to `stream`.

    Args:
        format: `json`, `console`, or `auto`: console on a terminal, else JSON.
        level: `debug`, `info`, `warning` or `error`; libraries that talk a lot begin at `warning`.
        program: what this process is; a field of every line.
        stream: standard error unless told.
    """
    stream = sys.stderr if stream is None else stream
    shared: Sequence[Processor] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _naming(program),
    )
    as_json = format == "json" or (format == "auto" and not stream.isatty())
    last: Sequence[Processor] = (
        (structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer())
        if as_json
        else (structlog.dev.ConsoleRenderer(colors=stream.isatty()),)
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[handler], level=threshold, force=True)
    logging.captureWarnings(True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _naming(program: str) -> Processor:
    def name(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["program"] = program
        return event

    return name


def keep_small(path: Path, largest: int = LARGEST_LOG_BYTES) -> None:
    """Move a log that has outgrown `largest` bytes to NAME.1, which it replaces.

    The content is copied and the file cut, since a child that writes to it holds it open; a line written in between is
    lost. Where it cannot be copied, as on a disk that is full, it is cut all the same.
    """
    with suppress(OSError):
        if path.stat().st_size > largest:
            with suppress(OSError):
                shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            os.truncate(path, 0)

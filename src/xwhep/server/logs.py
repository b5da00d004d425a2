"""Logging: one line for each event, as text or as JSON, on standard error. No secret is ever an event's field."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_LOG = logging.getLogger("xwhep.server")


def log_event(event: str, **fields: Any) -> None:
    """Say what happened, e.g. log_event("job leased", job=..., attempt=..., worker=...)."""
    _LOG.info(event, extra={"fields": fields})


def log_events(event: str, each: Iterable[Mapping[str, Any]]) -> None:
    """The same event for each of some jobs: a line for each, written at once."""
    if rows := list(each):
        _LOG.info(event, extra={"rows": rows})


def log_problem(event: str, **fields: Any) -> None:
    """The same, for what an administrator should look at."""
    _LOG.warning(event, extra={"fields": fields})


class TextFormatter(logging.Formatter):
    """2026-11-23T22:46:37Z job leased job=4f.. attempt=1 worker=node7"""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        level = "" if record.levelno == logging.INFO else f" {record.levelname.lower()}:"
        head = f"{stamp}{level} {record.getMessage()}"
        lines = "\n".join(_one_line(_text(head, fields)) for fields in _rows(record))
        return lines + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


def _text(head: str, fields: Mapping[str, Any]) -> str:
    return " ".join([head, *[f"{name}={value}" for name, value in fields.items()]])


class JsonFormatter(logging.Formatter):
    """{"time": 1795474000.1, "level": "info", "event": "job leased", "job": ...}"""

    def format(self, record: logging.LogRecord) -> str:
        body = {"time": round(record.created, 3), "level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info:
            body["traceback"] = self.formatException(record.exc_info)
        return "\n".join(json.dumps({**body, **fields}, default=str) for fields in _rows(record))


def _rows(record: logging.LogRecord) -> Sequence[Mapping[str, Any]]:
    """The fields of each line that the record is."""
    rows: Sequence[Mapping[str, Any]] = getattr(record, "rows", None) or [getattr(record, "fields", {})]
    return rows


def _one_line(text: str) -> str:
    # Names come from users: a line break in one must not look like another event.
    return text if text.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def configure_logging(style: str, *, access_log: bool) -> None:
    """Send everything to standard error; `style` is "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if access_log else logging.WARNING)

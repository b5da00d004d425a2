"""One line per event on standard error: UTC time, level, message."""

from __future__ import annotations

import logging
import time
from typing import TextIO


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # Names of jobs and texts of servers are foreign: no one may write a log line of his own.
        return "".join(char if char.isprintable() else "?" for char in super().format(record))


def start_logging(stream: TextIO | None = None) -> None:
    """Log to `stream`, standard error by default."""
    handler = logging.StreamHandler(stream)
    logging.Formatter.converter = time.gmtime
    handler.setFormatter(_Line("%(asctime)sZ %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries are ours to tell

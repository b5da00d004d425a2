"""What a run does, as lines of JSON, for other programs: begun, ended, up to date, failed, and the end.

events=FILE ──> appended to that file      --json ──> standard output, where nothing else is then
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TextIO

import msgspec

from xwhep_packaging.errors import PipelineError, StoreError


class Events(msgspec.Struct):
    """Appends to `path` and writes to `streams`, each event at once; without either it writes nothing."""

    path: str = ""
    streams: list[TextIO] = []

    def begin(self) -> None:
        """Open the file.

        Raises:
            StoreError: it cannot be written.
        """
        if not self.path:
            return
        try:
            stream = Path(self.path).open("a", encoding="utf-8")  # noqa: SIM115 - it is open as long as the run
            self.streams.append(stream)
        except OSError as exc:
            raise StoreError(
                f"cannot write the events to {self.path}",
                cause=str(exc),
                next_step="events=FILE of a folder that is there",
            ) from exc

    def write(self, event: str, **more: object) -> None:
        if not self.streams:
            return
        line = json.dumps({"event": event, "at": round(time.time(), 3), **more}) + "\n"
        for stream in self.streams:
            tell(stream, line)


def tell(stream: TextIO, text: str) -> None:
    """At once. Where whoever read it has gone, as `head` does, the run goes on and says no more there."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def told(error: object) -> dict[str, str]:
    """What the report of a failure says, part by part; of a defect nothing."""
    if not isinstance(error, PipelineError):
        return {}
    known = error.known()
    parts = {
        "code": error.code,
        "what": error.what,
        "known": f"{known.name}: {known.cause}" if known else "",
        "cause": error.cause,
        "next": known.next_step if known else error.next_step,
        "log": str(error.log or ""),
    }
    return {name: part for name, part in parts.items() if part}

"""What a run does, as lines of JSON in a file, for other programs: begun, ended, up to date, failed, and the end."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from xwhep_packaging.errors import StoreError


@dataclass
class Events:
    """Appends to `path`, each event at once; an empty path writes nothing."""

    path: str = ""
    stream: TextIO | None = field(default=None, init=False)

    def begin(self) -> None:
        """Open the file.

        Raises:
            StoreError: it cannot be written.
        """
        if not self.path:
            return
        try:
            self.stream = Path(self.path).open("a", encoding="utf-8")  # noqa: SIM115 - it is open as long as the run
        except OSError as exc:
            raise StoreError(
                f"cannot write the events to {self.path}",
                cause=str(exc),
                next_step="events=FILE of a folder that is there",
            ) from exc

    def write(self, event: str, **more: object) -> None:
        if self.stream:
            self.stream.write(json.dumps({"event": event, "at": round(time.time(), 3), **more}) + "\n")
            self.stream.flush()

"""Which jobs a command is about: those that share a group, a session or a label, page by page."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlencode

from xwhep.client.connection import Server
from xwhep.common.wire import Job

PAGE = 10_000  # what the server gives at once
ALL = 2**62


class Wanted(NamedTuple):
    """Fields of the server's question; '' is any."""

    state: str = ""
    group: str = ""
    session: str = ""
    label: str = ""

    def query(self, **more: str | int) -> str:
        fields = {**self._asdict(), **more}
        return urlencode({name: value for name, value in fields.items() if value not in ("", 0)})

    @property
    def words(self) -> str:
        """As it is typed again."""
        import shlex  # noqa: PLC0415 - for messages only

        return shlex.join(word for name, value in self._asdict().items() if value for word in (f"--{name}", value))


def list_jobs(server: Server, wanted: Wanted | None = None, limit: int = ALL) -> list[Job]:
    """The newest jobs first, at most `limit`."""
    wanted, found = wanted or Wanted(), list[Job]()
    while len(found) < limit:
        size = min(PAGE, limit - len(found))
        before = found[-1].id if found else ""
        page = server.get(f"/v1/jobs?{wanted.query(limit=size, before=before)}", list[Job])
        found += page
        if len(page) < size:
            break
    return found

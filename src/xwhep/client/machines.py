"""Which worker a person means by a name, an id, or the beginning of one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from xwhep.client.connection import Server
from xwhep.common.errors import NotFound, UsageError
from xwhep.common.wire import Worker

GONE = ("left", "lost")


def find_workers(server: Server, typed: Sequence[str]) -> list[Worker]:
    """One worker for each word, each once; one request for all of them.

    Raises:
        NotFound: there is none of that name; the nearest names are in the next step.
        UsageError: several are called so.
    """
    workers = server.get("/v1/workers", list[Worker])
    return list({worker.id: worker for worker in (_one(workers, word) for word in typed)}.values())


def _one(workers: Sequence[Worker], typed: str) -> Worker:
    """By id, else by name, where one that is there wins over those that are gone, else by the beginning of an id."""
    ways: tuple[Callable[[Worker], bool], ...] = (
        lambda worker: worker.id == typed,
        lambda worker: worker.name == typed and worker.state not in GONE,
        lambda worker: worker.name == typed,
        lambda worker: bool(typed) and worker.id.startswith(typed),
    )
    for fits in ways:
        found = [worker for worker in workers if fits(worker)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"{len(found)} workers are called {typed}", f"name one by its id: {', '.join(one.id for one in found)}"
            )
    near = difflib.get_close_matches(typed, [worker.name for worker in workers], n=3, cutoff=0.5)
    raise NotFound(
        f"there is no worker {typed!r}",
        f"did you mean {' or '.join(dict.fromkeys(near))}? (xw worker list)" if near else "xw worker list",
    )


def serves(worker: Worker) -> str:
    """Whose jobs it runs, in words."""
    if worker.visibility == "private":
        return f"its owner {worker.owner}"
    return f"the group {worker.group}" if worker.visibility == "group" else "everyone"

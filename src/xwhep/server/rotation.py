"""A worker's new token, without anyone going to the machine.

an admin asks for it ─► the next heartbeat's answer brings it ─► the worker uses it ─► the old one is void
                        (again with the one after, should the     (60 s after it was first offered at the latest)
                         answer have been lost on the way)
"""

from __future__ import annotations

from xwhep.server.auth import WorkerPrincipal
from xwhep.server.grid import Grid
from xwhep.server.identity import WORKER_TOKEN, new_token, token_hash
from xwhep.server.logs import log_event

OLD_TOKEN_S = 60.0


async def offer_token(grid: Grid, worker: WorkerPrincipal) -> str:
    """The token that the worker is to use from now on; empty when its own is the right one."""
    if not await grid.store.tokens.wants_rotation(worker.id):
        return ""
    token = new_token(WORKER_TOKEN)
    await grid.store.tokens.offer(worker.id, token_hash(token), grid.clock() + OLD_TOKEN_S)
    log_event("new token sent", worker=worker.name, id=worker.id)
    return token

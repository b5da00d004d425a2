"""Who may name and who may read a blob.

Knowing a hash is not enough for either: to name a blob in a datum, app or result one must have uploaded its content;
to read it, one must have uploaded it, own something that names it, be admin, or hold a job that needs it.
"""

from __future__ import annotations

from xwhep.common.errors import InvalidRequest, NotFound
from xwhep.server.auth import Principal, UserPrincipal
from xwhep.server.blobs import EMPTY_SHA256
from xwhep.server.grid import Grid


async def holds(grid: Grid, holder: str, sha256: str) -> bool:
    """Whether `holder` has proved to have the content; everyone has the empty one."""
    return sha256 == EMPTY_SHA256 or await grid.store.assets.holds_blob(sha256, holder)


async def size_of(grid: Grid, sha256: str) -> int | None:
    """Bytes of a content, whether it is a file or kept in the store; None when it is not here."""
    small = await grid.store.assets.small_size(sha256)
    return grid.blobs.size(sha256) if small is None else small


async def check_held(grid: Grid, holder: str, sha256: str, size: int) -> None:
    """Raises:
    NotFound: `holder` never uploaded it.
    InvalidRequest: its size is another.
    """
    if sha256 == EMPTY_SHA256 and not size:
        return
    grid.blobs.note_use(sha256)
    here = await size_of(grid, sha256)
    if here is None or not await holds(grid, holder, sha256):
        raise NotFound(f"the blob {sha256} is not uploaded yet", f"PUT it to /v1/blobs/{sha256} first")
    if here != size:
        raise InvalidRequest(f"the blob {sha256} has {here} bytes, not {size}", "correct the size")


async def may_read(grid: Grid, principal: Principal, sha256: str) -> bool:
    if await holds(grid, principal.holder, sha256):
        return True
    if isinstance(principal, UserPrincipal):
        return principal.is_admin or await grid.store.assets.user_names_blob(sha256, principal.login, principal.groups)
    return await grid.store.assets.worker_needs_blob(sha256, principal.id)
